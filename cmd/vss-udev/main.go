// Command vss-udev prints the flags of a disk with an MBR, for udev's rules.
package main

import (
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/tools/udev"
)

func main() { os.Exit(udev.Main(os.Args[1:])) }
