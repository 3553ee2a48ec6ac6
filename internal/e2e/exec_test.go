package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
)

// TestBackupPrograms: restic and borg back up a running database through vss exec, twice; what they restore starts.
func TestBackupPrograms(t *testing.T) {
	w := newWorld(t)
	c := newCluster(w)
	for _, p := range []struct {
		name          string
		init          []string
		backup        []string
		restore       func(to string) *exec.Cmd
		unchangedSeen func(output string) bool // the second run took unchanged files as such
	}{
		{"restic", []string{"restic", "init", "-q"}, append([]string{"restic", "backup", "--json"}, c.volumes...),
			func(to string) *exec.Cmd { return exec.Command("restic", "restore", "latest", "--target", to) },
			func(output string) bool {
				var last struct {
					FilesUnmodified int `json:"files_unmodified"`
				}
				lines := strings.Split(strings.TrimSpace(output), "\n")
				return json.Unmarshal([]byte(lines[len(lines)-1]), &last) == nil && last.FilesUnmodified > 500
			}},
		{"borg", []string{"borg", "init", "-e", "none"},
			append([]string{"borg", "create", "--list", "--filter", "U", "::{now:%s%f}"}, c.volumes...),
			func(to string) *exec.Cmd {
				cmd := exec.Command("sh", "-c", "borg extract ::$(borg list --last 1 --short)")
				cmd.Dir = to
				return cmd
			},
			func(output string) bool { return strings.Count(output, "\nU ") > 500 }},
	} {
		t.Run(p.name, func(t *testing.T) {
			repo, to := filepath.Join(w.dir, p.name), filepath.Join(w.dir, p.name+"-restored")
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
			env := append(os.Environ(), "RESTIC_REPOSITORY="+repo, "RESTIC_PASSWORD=x",
				"RESTIC_CACHE_DIR="+filepath.Join(w.dir, "cache"),
				"BORG_REPO="+repo, "BORG_BASE_DIR="+filepath.Join(w.dir, "cache"),
				"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes")
			run := func(cmd *exec.Cmd) string {
				t.Helper()
				var out bytes.Buffer
				cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &out
				if err := cmd.Run(); err != nil {
					t.Fatalf("%v: %v\n%s", cmd.Args, err, out.String())
				}
				return out.String()
			}
			run(exec.Command(p.init[0], p.init[1:]...))
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			backup := func() string {
				return run(w.command(ctx, append(append([]string{"exec"}, c.volumes...),
					append([]string{"--"}, p.backup...)...)...))
			}
			backup()
			acknowledged := c.journal.Acknowledged()
			if out := backup(); !p.unchangedSeen(out) {
				t.Errorf("the second run did not find unchanged files unchanged:\n%.2000s", out)
			}
			run(p.restore(to))
			c.startRestored(to, acknowledged)
			if left := w.shadows(); len(left) > 0 {
				t.Errorf("copies left: %+v", left)
			}
		})
	}
}

// startRestored starts a server on files that a backup program put below a folder.
func (c *cluster) startRestored(root string, acknowledged []int64) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	there := &pgserver.Server{Data: filepath.Join(root, c.server.Data), Run: filepath.Join(c.dir, "pgrun-restored"),
		Settings: c.server.Settings}
	c.point(filepath.Join(there.Data, "pg_wal"), filepath.Join(root, c.server.WAL))
	links, _ := filepath.Glob(filepath.Join(there.Data, "pg_tblspc", "*"))
	if len(links) != 1 {
		c.Fatalf("tablespaces restored: %v", links)
	}
	c.point(links[0], filepath.Join(root, c.server.Tablespaces["space"]))
	_ = os.Remove(filepath.Join(there.Data, "postmaster.pid"))
	for dir := filepath.Dir(there.Data); dir != c.dir; dir = filepath.Dir(dir) { // the way there, for the account
		if err := os.Chmod(dir, 0o755); err != nil {
			c.Fatal(err)
		}
	}
	defer func() {
		if err := there.Stop(ctx); err != nil {
			c.Error(err)
		}
	}()
	for _, f := range []func() error{func() error { return there.Start(ctx) },
		func() error { return there.Holds(ctx, acknowledged) }, func() error { return there.Check(ctx) }} {
		if err := f(); err != nil {
			c.Errorf("what was restored: %v", err)
			return
		}
	}
}

// TestExecMounts: in each mount namespace and by each mount CMD sees the copy, or it isn't run.
func TestExecMounts(t *testing.T) {
	w := newWorld(t)
	point, bound := w.volume("a", "64M", "ext4", "gpt"), filepath.Join(w.dir, "mnt-bound")
	for _, dir := range []string{filepath.Join(point, "sub"), bound} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.write(filepath.Join(point, "sub", "file"), "old")
	w.tool("mount", "--bind", filepath.Join(point, "sub"), bound)
	defer w.tool("umount", bound)
	live := filepath.Join(bound, "file")
	program := filepath.Join(w.dir, "vss") // so that another program can start it
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, program)
	}
	if err != nil {
		t.Fatal(err)
	}
	// CMD changes the live file, by the service's namespace, and then looks at every place.
	look := "echo new > /proc/" + strconv.Itoa(os.Getpid()) + "/root" + live + "; cat " + live + "; " +
		"cat " + filepath.Join(point, "sub", "file") + "; touch " + live + " && echo written"
	run := func(private bool, args ...string) result {
		w.write(live, "old\n")
		cmd := w.command(context.Background(), args...)
		if private {
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS} // makes its mounts private
		}
		return w.finish(cmd)
	}
	for _, c := range []struct {
		name    string
		private bool
		volume  string
	}{
		{"the volume", false, point},         // storage 02, apps 02
		{"a bind mount", false, bound},       // storage 02
		{"a private namespace", true, point}, // storage 01, apps 31
		{"bind mount, private", true, bound}, // storage 01, 02
		{"a folder", false, point + "/sub"},  // users E
		{"nested", false, point},             // exec inside of exec
	} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"exec", "--no-writers", c.volume, "--", "sh", "-c", look}
			if c.name == "nested" {
				inner := w.command(context.Background(), args...)
				args = append([]string{"exec", "--no-writers", point, "--", program}, inner.Args[1:]...)
			}
			r := run(c.private, args...)
			if string(r.stdout) != "old\nold\n" {
				t.Errorf("exit %d: %q\n%s", r.code, r.stdout, r.stderr)
			}
		})
	}
	t.Run("not mounted there", func(t *testing.T) { // storage 01: nothing is run where the volume isn't
		inner := w.command(context.Background(), "exec", "--no-writers", point, "--", "echo", "ran")
		cmd := exec.Command("unshare", append([]string{
			"-m", "sh", "-c", "umount " + bound + " " + point + "; exec \"$@\"", "sh", program}, inner.Args[1:]...)...)
		cmd.Env = inner.Env
		r := w.finish(cmd)
		if r.code != 125 || len(r.stdout) > 0 || !strings.Contains(string(r.stderr), point) {
			t.Errorf("exit %d: %q, %s", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("descriptors", func(t *testing.T) { // apps 08
		const look = "cat <&3; ls /proc/self/fd | wc -l"
		script := func(cmd *exec.Cmd) string {
			in, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = out.WriteString("secret\n")
			_ = out.Close()
			defer in.Close()
			cmd.ExtraFiles = []*os.File{in}
			return string(w.finish(cmd).stdout)
		}
		inside := script(w.command(context.Background(), "exec", "--no-writers", point, "--", "sh", "-c", look))
		if plain := script(exec.Command("sh", "-c", look)); inside != plain || !strings.HasPrefix(inside, "secret\n") {
			t.Errorf("%q, without vss %q", inside, plain)
		}
	})
}

// TestExecKilled kills vss, its command or the service in the middle of exec: no mount and nothing frozen is left, and
// no copy once the service runs again.
func TestExecKilled(t *testing.T) {
	w := newWorld(t)
	point := w.volume("a", "64M", "ext4", "gpt")
	load := counterstest.Start(t, point)
	mounts := func() int {
		b, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), w.dir)
	}
	before := mounts()
	for _, victim := range []string{"vss", "command", "vssd"} {
		t.Run(victim, func(t *testing.T) {
			ready := filepath.Join(w.dir, "ready")
			_ = os.Remove(ready)
			cmd := w.command(context.Background(), "exec", "--no-writers", point, "--", "sh", "-c",
				"echo $$ > "+ready+".new; mv "+ready+".new "+ready+"; exec sleep 300")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			for end := time.Now().Add(30 * time.Second); pid == 0; time.Sleep(5 * time.Millisecond) {
				if b, err := os.ReadFile(ready); err == nil {
					pid = atoi(t, strings.TrimSpace(string(b)))
				}
				if time.Now().After(end) {
					t.Fatalf("the command doesn't start\n%s", w.log())
				}
			}
			switch victim {
			case "vss":
				_ = cmd.Process.Kill()
			case "command":
				_ = unix.Kill(pid, unix.SIGKILL)
			case "vssd":
				w.stop(unix.SIGKILL)
			}
			done := make(chan struct{})
			go func() { _ = cmd.Wait(); close(done) }()
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				_ = cmd.Process.Kill()
				t.Error("vss exec goes on")
			}
			for end := time.Now().Add(10 * time.Second); unix.Kill(pid, 0) == nil &&
				!zombie(pid); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					_ = unix.Kill(pid, unix.SIGKILL)
					t.Fatal("the command lives on without its copies")
				}
			}
			w.flows(load, 3*time.Second, "after the command")
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				var luns []lunDoc
				w.vss(&luns, "lun", "list")
				// at once with a service that lives; its next start otherwise
				if len(w.shadows()) == 0 && len(luns) == 1 && mounts() == before {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("left: %d copies, %d mounts more\n%s", len(w.shadows()), mounts()-before, w.log())
				}
			}
			w.clean()
		})
	}
}
