package writers

import (
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"

	"github.com/stillpoint-vss/stillpoint/internal/config"
)

// Accounts are the accounts, besides root, whose processes the configuration allows to be writers.
func Accounts(c *config.Config) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		if name != "root" && c.Accounts[name].Writer() {
			all = append(all, name)
		}
	}
	return all
}

// Trust is the function that refuses processes of accounts that the configuration doesn't allow to be writers.
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
			return fmt.Errorf("account %s may not be a writer; [accounts] of the configuration says who may", name)
		}
		return nil
	}
}
