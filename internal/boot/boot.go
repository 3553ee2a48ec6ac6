// Package boot identifies the time from a start of the machine to its end.
package boot

import (
	"os"
	"strings"
)

// ID returns the kernel's id of this boot, which no other boot has.
func ID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
