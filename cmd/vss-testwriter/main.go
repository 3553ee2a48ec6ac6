// Command vss-testwriter is a writer controlled by a configuration, for tests of requesters, of the service and of
// backup products.
package main

import (
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/tools/testwriter"
)

func main() { os.Exit(testwriter.Main(os.Args[1:])) }
