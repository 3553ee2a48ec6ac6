package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
)

// TestOwnState puts the service's state on a LUN, and takes sets of that very volume: the catalogue's own file system
// is held, copied, broken, and outlives a death in the middle of it.
func TestOwnState(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			pool := w.poolAt("pool", "xfs")
			t.Cleanup(func() { w.letGo(pool) }) // before the pool's unmounting
			w.usePool(pool)
			first := w.state
			own, other := w.volume("own", "320M", kind, "gpt"), w.volume("other", "64M", "ext4", "mbr")
			w.stop(unix.SIGTERM)
			w.tool("cp", "-a", first, filepath.Join(own, "state"))
			w.state = filepath.Join(own, "state")
			t.Cleanup(func() { // the other state ends what is left
				w.end()
				w.stop(unix.SIGKILL)
				w.state = first
				w.end()
			})
			load := counterstest.Start(t, own, other)
			kept := w.create("--no-writers", own, other)
			if kept.HoldMS <= 0 || kept.Consistency != "file-system" {
				t.Errorf("held for %v ms, %s consistent", kept.HoldMS, kept.Consistency)
			}
			at := filepath.Join(w.run, "exposed", "own")
			w.vss(nil, "expose", kept.ShadowCopies[0].ID, at)
			if st, err := os.Stat(filepath.Join(at, "state", "catalog.db")); err != nil || st.Size() == 0 {
				t.Errorf("the copy has no catalogue: %v", err)
			}
			w.vss(nil, "unexpose", kept.ShadowCopies[0].ID)

			gone := w.create("--no-writers", own, other)
			var b breakDoc
			w.vss(&b, "break", gone.SetID, "--read-write", "--keep-identity")
			for _, l := range b.LUNs {
				w.vss(nil, "lun", "delete", l.LUN, "--force")
			}

			// The service dies while it holds its own state; it can't even write that it does.
			for _, p := range []string{"create/hold/after", "create/commit/after", "create/release/before",
				"create/release/after"} {
				w.stop(unix.SIGTERM)
				w.fault = p + " kill"
				if r := w.try("create", "--no-writers", "--hold-limit", holdLimit.String(), own, other); r.code == 0 {
					t.Fatalf("%s was not reached", p)
				}
				w.fault = ""
				w.flows(load, holdLimit+time.Second, "killed at "+p)
				w.clean()
				if n := len(w.shadows()); n != 2 {
					t.Errorf("killed at %s: %d copies, the acknowledged ones are 2\n%s", p, n, w.log())
				}
			}

			// A hold that overruns is released on time, though nobody can write a line meanwhile.
			w.stop(unix.SIGTERM)
			w.fault = "create/hold/after delay 3s"
			w.refused("VSS_E_HOLD_WRITES_TIMEOUT", "create", "--no-writers", "--hold-limit", holdLimit.String(), own,
				other)
			w.fault = ""
			w.clean()
			counterstest.End(t, load)
		})
	}
}
