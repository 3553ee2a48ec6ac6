package lab

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// newDir returns a directory that is removed after the test, or after this process was killed: a shell in its own
// session waits for the end of a pipe that only this process has.
func newDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-lab-")
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sweeper := exec.Command("sh", "-c", `read x; until rm -rf "$0"; do sleep 0.1; done`, dir)
	sweeper.Dir = "/"
	sweeper.Stdin = r
	sweeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := sweeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		_ = sweeper.Wait()
		if err := os.RemoveAll(dir); err != nil { // in case the shell was killed
			t.Errorf("left behind: %v", err)
		}
	})
	return dir
}
