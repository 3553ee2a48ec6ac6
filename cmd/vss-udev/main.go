// Command vss-udev is what udev's rules ask about a disk with an MBR, whose flags the kernel and blkid don't know: it prints
// them as properties, VSS_DISK_HIDDEN=1 and the like. It reads only, and prints nothing for a disk without flags.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: vss-udev DEVICE (for udev's IMPORT{program})")
		os.Exit(2)
	}
	t, err := disk.Read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "vss-udev:", err)
		os.Exit(1)
	}
	for _, name := range t.Flags.Names() {
		fmt.Printf("VSS_DISK_%s=1\n", strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	}
}
