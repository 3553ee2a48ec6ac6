package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSurroundings: a service that a command starts has the umask, limits, descriptors and environment of the host, not
// those of the command, and neither SIGHUP nor SIGPIPE ends it (trust 17, 20).
func TestSurroundings(t *testing.T) {
	w := newWorld(t)
	w.configure("[service]\nidle_exit = \"1h\"\n")
	cmd := w.command(context.Background(), "list", "providers")
	shell := exec.Command("sh", append([]string{"-c",
		`umask 077; ulimit -S -f 4000; exec 7<"$0" 9<"$0"; odd=1; export odd; exec "$@"`, w.config, cmd.Path},
		cmd.Args[1:]...)...)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(w.dir, "vss")
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	shell.Args[4] = link
	shell.Env = cmd.Env
	if r := w.finish(shell); r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	pid := w.service()
	read := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if s := read("status"); !strings.Contains(s, "Umask:\t0022") {
		t.Errorf("its umask is the command's:\n%s", s)
	}
	if s := read("environ"); strings.Contains(s, "odd=") {
		t.Errorf("its environment is the command's: %q", s)
	}
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &l); err != nil || l.Cur == 4000*512 || l.Cur == 4000*1024 {
		t.Errorf("its limit of file sizes is the command's: %+v, %v", l, err)
	}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, l := range links {
		if to, _ := os.Readlink(l); to == w.config {
			t.Errorf("%s is open", l)
		}
	}
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGPIPE} {
		if err := unix.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if r := w.try("list", "providers"); r.code != 0 || w.service() != pid {
		t.Errorf("after signals: exit %d, service %d was %d", r.code, w.service(), pid)
	}
}

// TestFullOutput: output that can't be written makes a command fail (trust 18).
func TestFullOutput(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{
		{"list", "shadows"}, {"list", "providers"}, {"lun", "list"}, {"doctor"}, {"version"}, {"--help"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := w.command(context.Background(), args...)
		cmd.Stdout = full
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("vss %s: %v", strings.Join(args, " "), err)
		}
		full.Close()
	}
}

// TestStartsAtOnce: commands and a service that start at the same moment all work with one service (trust 22).
func TestStartsAtOnce(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		daemon := w.command(context.Background())
		daemon.Args[0] = "vssd"
		var all sync.WaitGroup
		all.Go(func() { _ = daemon.Run() }) // it may lose
		for range 4 {
			all.Go(func() {
				if r := w.try("list", "providers"); r.code != 0 {
					t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
				}
			})
		}
		time.Sleep(time.Second)
		w.stop(unix.SIGTERM)
		all.Wait()
		w.stop(unix.SIGTERM)
	}
}
