// Command vss is the command-line interface of the Volume Shadow Copy Service. It also contains the service, and starts
// itself as the service if none is running.
package main

import (
	"os"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/service"
	"github.com/stillpoint-vss/stillpoint/internal/tools/vsscmd"
	"github.com/stillpoint-vss/stillpoint/requester"
)

func main() {
	switch {
	case hold.IsGuard(os.Args):
		os.Exit(hold.RunGuard())
	case filepath.Base(os.Args[0]) == requester.DaemonName:
		os.Exit(service.Main(os.Args[1:]))
	}
	os.Exit(vsscmd.Main(os.Args))
}
