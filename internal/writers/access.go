package writers

import (
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"

	"github.com/stillpoint-vss/stillpoint/internal/config"
)

// Accounts returns the accounts, besides root, that the configuration allows to run writers, in alphabetical order.
func Accounts(c *config.Config) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		if name != "root" && c.Accounts[name].Writer() {
			all = append(all, name)
		}
	}
	return all
}

// Trust returns a function that reports an error for user IDs that the configuration doesn't allow to run writers.
func Trust(c *config.Config) func(uid uint32) error {
	return func(uid uint32) error {
		name := "root"
		if uid != 0 {
			u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
			if err != nil {
				return fmt.Errorf("uid %d: %w", uid, err)
			}
			name = u.Username
		}
		if !c.AccessOf(name).Writer() {
			return fmt.Errorf("account %s may not run a writer; allow it in [accounts] of the configuration", name)
		}
		return nil
	}
}
