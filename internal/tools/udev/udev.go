// Package udev is the program vss-udev. udev's rules use it to get the flags of a disk with an MBR, which the kernel
// and blkid don't report.
package udev

import (
	"fmt"
	"os"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
)

// Main prints the flags of a disk as properties of udev, such as VSS_DISK_HIDDEN=1. It takes the arguments of the
// program without its name and returns the exit code: 0 success, 1 the disk can't be read, 2 invalid command line.
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
