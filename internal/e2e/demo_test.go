package e2e

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/demo"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/requester"
)

// demoFolder is where a test's demos have their scratch folders. Nothing may be in it at the end, no process may have
// it in its arguments, and no mount or loop device be below it.
func demoFolder(t *testing.T) string {
	lane.Host(t)
	dir := lane.Scratch(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nothingLeft(t, dir) })
	return dir
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil || len(found) > 0 {
		t.Errorf("left in the folder for scratch folders: %v, %v", found, err)
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range all {
		if line, err := os.ReadFile(p); err == nil && strings.Contains(string(line), dir) {
			t.Errorf("left: %s: %s", p, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
}

// runDemo starts vss demo and sends a signal when it says that a step has begun; without one it lets it go on.
func runDemo(t *testing.T, dir, step string, s syscall.Signal, flags ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cmp.Or(os.Getenv(recordJSON), "/proc/self/exe"))
	cmd.Args = append([]string{"vss", "demo"}, flags...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	var out, errs strings.Builder
	cmd.Stderr = &errs
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		out.WriteString(lines.Text() + "\n")
		if step != "" && strings.HasPrefix(lines.Text(), step) {
			if err := cmd.Process.Signal(s); err != nil {
				t.Error(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestDemo: the demo proves everything, and cleans up after a former one that was killed.
func TestDemo(t *testing.T) {
	dir := demoFolder(t)
	if code, out, _ := runDemo(t, dir, "[3/", syscall.SIGKILL); code != -1 || !strings.Contains(out, "[3/") {
		t.Fatalf("a demo that is killed: exit %d\n%s", code, out)
	}
	code, out, errs := runDemo(t, dir, "", 0, "--json")
	var d struct {
		Proven bool
		Proofs []struct {
			Name, Claim, Found string
			Proven             bool
		}
		Figures struct {
			HoldMS         float64 `json:"hold_ms"`
			WriterWindowMS float64 `json:"writer_window_ms"`
			Acknowledged   int64
			Recovered      int64
		}
		Set    setDoc
		Broken breakDoc
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("exit %d, no document: %v\n%s%s", code, err, out, errs)
	}
	if doc, err := readDocument([]byte(out)); err != nil {
		t.Error(err)
	} else {
		newGolden(t, dir).compare("demo", []string{"demo"}, doc)
	}
	if code != 0 || !d.Proven || len(d.Proofs) != 12 {
		t.Errorf("exit %d, proven %v, %d proofs\n%s", code, d.Proven, len(d.Proofs), errs)
	}
	for _, p := range d.Proofs {
		if !p.Proven || p.Name == "" || p.Claim == "" || p.Found == "" {
			t.Errorf("%+v", p)
		}
	}
	if d.Figures.HoldMS <= 0 || d.Figures.WriterWindowMS < d.Figures.HoldMS || d.Figures.Acknowledged == 0 ||
		d.Figures.Recovered < d.Figures.Acknowledged {
		t.Errorf("%+v", d.Figures)
	}
	if d.Set.Context != "app-rollback" || len(d.Set.ShadowCopies) != 2 || len(d.Set.Timeline) == 0 ||
		len(d.Broken.LUNs) != 2 {
		t.Errorf("%+v, %+v", d.Set, d.Broken)
	}
}

// TestDemoInterrupted: Ctrl-C in the middle of the creation ends the demo in order.
func TestDemoInterrupted(t *testing.T) {
	dir := demoFolder(t)
	code, out, errs := runDemo(t, dir, "[3/", syscall.SIGINT)
	if code != 1 || strings.Contains(out, "[4/") || !strings.Contains(errs, "nothing was left behind") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

// TestDemoFails ends the demo with a failure, and with a panic.
func TestDemoFails(t *testing.T) {
	for _, step := range []string{"create", "break"} {
		t.Run(step, func(t *testing.T) {
			dir := demoFolder(t)
			boom := errors.New("boom")
			_, err := brokenDemo(dir, func(at string) error {
				if at != step {
					return nil
				}
				if step == "break" {
					panic(boom)
				}
				return boom
			})
			if !errors.Is(err, boom) {
				t.Errorf("the demo ended with %v", err)
			}
		})
	}
}

// brokenDemo is a demo in this process; a panic is its error.
func brokenDemo(dir string, at func(string) error) (r *demo.Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = p.(error)
		}
	}()
	return demo.Run(context.Background(), demo.Config{Folder: dir, Exe: "/proc/self/exe", Listener: silent{}, At: at})
}

type silent struct{}

func (silent) Step(int, int, string)     {}
func (silent) Note(string, string)       {}
func (silent) Set(requester.SnapshotSet) {}
