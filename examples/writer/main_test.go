package main

import (
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// Three lines prove a writer.
func TestNotes(t *testing.T) {
	writertest.Run(t, func(t *testing.T) *writertest.World {
		n := &notes{folder: t.TempDir(), frozen: map[vss.SessionID]bool{}}
		return &writertest.World{Writer: n, Volumes: []string{"/"}, Frozen: func() bool {
			wrote, err := n.write(time.Now())
			if err != nil {
				t.Error(err)
			}
			return !wrote
		}}
	})
}
