// Command vss-conform tests a provider or a writer behind a socket.
package main

import (
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/tools/conform"
)

func main() {
	if hold.IsGuard(os.Args) {
		os.Exit(hold.RunGuard())
	}
	os.Exit(conform.Main(os.Args[1:]))
}
