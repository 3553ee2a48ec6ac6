package vsscmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stillpoint-vss/stillpoint/requester"
)

// TestStartsAtBoot: only an enabled unit, and only for the default folders, starts the service at boot (users A).
func TestStartsAtBoot(t *testing.T) {
	units := t.TempDir()
	if startsAtBoot(&requester.ConnectOptions{}, units) {
		t.Error("without a unit")
	}
	if err := os.Mkdir(filepath.Join(units, "multi-user.target.wants"), 0o755); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(units, "multi-user.target.wants", "vssd.service")
	if err := os.Symlink("/usr/lib/systemd/system/vssd.service", unit); err != nil {
		t.Fatal(err)
	}
	if !startsAtBoot(&requester.ConnectOptions{}, units) {
		t.Error("with a unit that is enabled")
	}
	if startsAtBoot(&requester.ConnectOptions{State: "/srv/state"}, units) {
		t.Error("with a state folder of its own")
	}
}
