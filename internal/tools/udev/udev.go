// Package udev is the program vss-udev: what udev's rules ask about a disk with an MBR, whose flags the kernel and blkid don't
// know.
package udev

import (
	"fmt"
	"os"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
)

// Main prints a disk's flags as properties, VSS_DISK_HIDDEN=1 and the like, nothing for a disk without flags: its arguments
// after the name in, exit code out (0 done, 1 the disk can't be read, 2 wrong usage). It only reads.
func Main(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: vss-udev DEVICE (for udev's IMPORT{program})")
		return 2
	}
	t, err := disk.Read(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "vss-udev:", err)
		return 1
	}
	for _, name := range t.Flags.Names() {
		fmt.Printf("VSS_DISK_%s=1\n", strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	}
	return 0
}
