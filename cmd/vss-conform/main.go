// Command vss-conform tests a provider or a writer behind a socket.
package main

import (
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/tools/conform"
)

func main() { os.Exit(conform.Main(os.Args[1:])) }
