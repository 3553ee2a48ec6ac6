package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// idle reports whether the service may end: nobody works with it, and no LUN is attached whose pool has to be watched.
func (p *parts) idle() bool { return p.coordinator.Idle() && !p.array.Needed() }

// inspect looks for what makes writes to LUNs fail: pools without the room that their LUNs may still need, and file
// systems of this host that the kernel has shut down.
func (p *parts) inspect(context.Context) []copies.Finding {
	var out []copies.Finding
	short, err := p.array.Unreserved()
	if err != nil {
		out = append(out, copies.Finding{Severity: "warning", What: "the space of a pool can't be read: " + err.Error(),
			Hint: "`vss array list` shows the pools"})
	}
	for name, bytes := range short {
		out = append(out, copies.Finding{Severity: "info",
			What: fmt.Sprintf(
				"pool %s has %d MiB less than its LUNs may still write: the oldest copies go first, while "+
					"vssd runs",
				name,
				(bytes+1<<20-1)>>20,
			),
			Hint: "give the pool more room, and keep vssd running: systemctl enable --now vssd.service"})
	}
	return append(out, shutDown(mount.List(), probe)...)
}

// probeLimit is how long one file system may take to answer.
const probeLimit = 2 * time.Second

// shutDown reports the local file systems whose root can't be read any more, or that became read-only by an error.
func shutDown(mounts []mount.Info, probe func(path string) error) []copies.Finding {
	var out []copies.Finding
	var seen []string
	for _, m := range mounts {
		if !slices.Contains([]string{"ext4", "ext3", "ext2", "xfs", "btrfs"}, m.Type) ||
			slices.Contains(seen, m.Device) {
			continue
		}
		seen = append(seen, m.Device)
		err := probe(m.Point)
		switch {
		case errors.Is(err, unix.EIO), errors.Is(err, unix.EUCLEAN):
			out = append(out, copies.Finding{Severity: "error",
				What: fmt.Sprintf("the file system at %s (%s) was shut down by the kernel: %v", m.Point, m.Source, err),
				Hint: "see the kernel's log; give its disk room, unmount it and mount it again"})
		case errors.Is(err, os.ErrDeadlineExceeded):
			out = append(out, copies.Finding{Severity: "warning",
				What: fmt.Sprintf("the file system at %s (%s) doesn't answer within %v", m.Point, m.Source, probeLimit),
				Hint: "see the kernel's log"})
		}
	}
	return out
}

// probe reads the root of a file system, without waiting longer than probeLimit.
func probe(path string) error {
	done := make(chan error, 1)
	go func() { done <- readRoot(path) }()
	select {
	case err := <-done:
		return err
	case <-time.After(probeLimit):
		return os.ErrDeadlineExceeded
	}
}

func readRoot(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Readdirnames(1); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
