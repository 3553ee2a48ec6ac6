// Command vss-udev tells udev's rules what the flags of a disk with an MBR are.
package main

import (
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/tools/udev"
)

func main() { os.Exit(udev.Main(os.Args[1:])) }
