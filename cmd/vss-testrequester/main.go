// Command vss-testrequester is a requester controlled by a script, for tests of writers and of the service.
package main

import (
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/tools/testrequester"
)

func main() { os.Exit(testrequester.Main(os.Args[1:])) }
