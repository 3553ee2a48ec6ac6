package pool

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

func TestConformance(t *testing.T) {
	lane.Host(t)
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind+" folder", func(t *testing.T) {
			pooltest.Run(t, func(t *testing.T) (array.Pool, func() (array.Pool, error)) {
				dir := pooltest.Folder(t, kind, 1<<30)
				p, err := Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				return p, func() (array.Pool, error) { return Open(dir) }
			})
		})
	}
	t.Run("self-made", func(t *testing.T) {
		pooltest.Run(t, func(t *testing.T) (array.Pool, func() (array.Pool, error)) {
			dir := lane.Scratch(t)
			open := func() (array.Pool, error) {
				return OpenSelfMade(filepath.Join(dir, "state", "default.img"), filepath.Join(dir, "run", "default"))
			}
			p, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
				t.Error("it was made before it was needed")
			}
			return p, open
		})
	})
}
