package packaging

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/lab"
)

func TestMain(m *testing.M) { lab.RunTests(m) }

// built names the folder of the programs, for the inner side of the test.
const built = "VSS_TEST_PROGRAMS"

// TestUnits installs everything on a machine under systemd: the socket starts the service, its rights are what they
// should be, a service that is killed comes back, one that is stopped ends well and leaves its list of what is held.
func TestUnits(t *testing.T) {
	if !lab.Inside() {
		dir := t.TempDir()
		sh(t, "cd .. && CGO_ENABLED=0 go build -o "+dir+"/ ./cmd/...")
		t.Setenv(built, dir)
	}
	if !lab.Enter(t, lab.Guest{Systemd: true, Memory: 768, Timeout: 3 * time.Minute}) {
		return
	}
	sh(t, "install -m 755 "+os.Getenv(built)+"/* /usr/local/bin/ && ./install '' /usr/local")
	sh(t, "systemd-sysusers && systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/vss.conf && udevadm control "+
		"--reload && systemctl daemon-reload")
	if out := sh(t, "cd / && systemd-analyze verify --man=no vssd.socket vssd.service 2>&1"); strings.Contains(out,
		"vssd") {
		t.Errorf("systemd-analyze: %s", out)
	}

	sh(t, "systemctl start vssd.socket")
	if got := strings.TrimSpace(sh(t, "stat -c '%a %U %G' /run/vss/vssd.sock")); got != "660 root backup" {
		t.Errorf("the socket is %s", got)
	}
	if got := property(t, "ActiveState"); got != "inactive" {
		t.Errorf("the service is %s before anybody asked", got)
	}
	if out := sh(t, "vss list providers --json"); !strings.Contains(out, `"hardware"`) {
		t.Errorf("providers: %s", out)
	}
	first := property(t, "MainPID")
	if got := property(t, "ActiveState"); got != "active" || first == "0" {
		t.Errorf("the service is %s, process %s", got, first)
	}
	sh(t, "setpriv --reuid=backup --regid=backup --clear-groups vss list shadows")
	if out, err := exec.Command("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "vss", "list",
		"shadows", "--json").Output(); err == nil || !strings.Contains(string(out), "E_ACCESSDENIED") {
		t.Errorf("nobody was let in: %v, %s", err, out)
	}

	sh(t, "kill -9 "+first)
	for end := time.Now().Add(20 * time.Second); property(t, "MainPID") == first ||
		property(t, "ActiveState") != "active"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a killed service doesn't come back: %s\n%s", property(t, "ActiveState"),
				sh(t, "systemctl status vssd.service || true"))
		}
	}
	sh(t, "vss list shadows")

	sh(t, "systemctl stop vssd.socket vssd.service")
	if state, result := property(t, "ActiveState"), property(t, "Result"); state != "inactive" || result != "success" {
		t.Errorf("a stopped service is %s, %s\n%s", state, result, sh(t, "systemctl status vssd.service || true"))
	}
	sh(t, "test -d /run/vss") // what is held must outlive the service
}

func property(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(sh(t, "systemctl show -P "+name+" vssd.service"))
}

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}
