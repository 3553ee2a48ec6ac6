// Command vssd is the Volume Shadow Copy Service.
package main

import (
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/service"
)

func main() {
	if hold.IsGuard(os.Args) {
		os.Exit(hold.RunGuard())
	}
	os.Exit(service.Main(os.Args[1:]))
}
