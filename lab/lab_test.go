package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

const victimEnv = "VSS_LAB_TEST_VICTIM"

func TestMain(m *testing.M) { RunTests(m) }

// TestRun: output and status of a command are returned, and the host keeps nothing that it writes.
func TestRun(t *testing.T) {
	t.Setenv("VSS_LAB_TEST", "from outside")
	mark := fmt.Sprintf("/var/tmp/vss-lab-test-%d", os.Getpid())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t, Guest{Disks: []Disk{{Size: 3 << 20}, {Size: 5 << 20, Sync: true}}}, "sh", "-c",
		`echo "$VSS_LAB_TEST"; pwd; id -u; blockdev --getsize64 /dev/ubda /dev/ubdb; `+
			`echo wrong >&2; echo x >`+mark+`; cat `+mark+`; exit 7`)
	if err != nil {
		t.Fatal(err)
	}
	want := Result{Exit: 7, Stdout: fmt.Sprintf("from outside\n%s\n0\n%d\n%d\nx\n", dir, 3<<20, 5<<20),
		Stderr: "wrong\n"}
	if r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if exists(mark) {
		t.Errorf("%s is on the host", mark)
	}
}

// TestCommands runs several commands at once, with all kinds of ends, much output, and a guest that is cut off
// meanwhile.
func TestCommands(t *testing.T) {
	m := Boot(t, Guest{Name: "alone"})
	for _, c := range []struct {
		args []string
		want Result
	}{
		{[]string{"hostname"}, Result{Stdout: "alone\n"}},
		{[]string{"sh", "-c", "kill -9 $$"}, Result{Exit: 137}},
		{[]string{"/no/such/program"}, Result{Exit: 127,
			Stderr: "lab: exec: \"/no/such/program\": stat /no/such/program: no such file or directory\n"}},
		{[]string{"sh", "-c", "sleep 100 & echo started"}, Result{Stdout: "started\n"}},
		{[]string{"sh", "-c", "(sleep 0.01 &); sleep 0.2; ps -o stat= -A | grep -c Z"}, Result{Exit: 1, Stdout: "0\n"}},
		{[]string{"head", "-c", "3000000", "/dev/zero"}, Result{Stdout: strings.Repeat("\x00", 3000000)}},
		{[]string{"printf", `\0\001\003\004\n\r\021\023\032\177\377`},
			Result{Stdout: "\x00\x01\x03\x04\n\r\x11\x13\x1a\x7f\xff"}},
	} {
		if r, err := m.Run(t.Context(), c.args...); err != nil || r != c.want {
			t.Errorf("%v: %.300q, %v", c.args, fmt.Sprint(r), err)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if r, err := m.Run(ctx, "sh", "-c", "sleep 77; true"); !errors.Is(err, context.DeadlineExceeded) || r.Exit != 131 {
		t.Errorf("past its limit: %+v, %v", r, err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if r, err := m.Run(ctx, "sh", "-c", "trap 'echo asked' QUIT; while :; do sleep 77; done"); !errors.Is(err,
		context.DeadlineExceeded) || r.Exit != 137 || r.Stdout != "asked\n" {
		t.Errorf("past its limit, with more to say: %+v, %v", r, err)
	}
	if out := m.Sh("pgrep -c -x -f 'sleep 77' || true"); out != "0\n" {
		t.Errorf("%s processes of the killed command are left", out)
	}

	died := make(chan error)
	go func() {
		_, err := m.Run(context.Background(), "sleep", "60")
		died <- err
	}()
	m.Sh("true") // answered while the other one runs
	m.Cut()
	if err := <-died; !errors.Is(err, ErrDied) {
		t.Errorf("command in a guest that is cut off: %v", err)
	}
	if _, err := m.Run(t.Context(), "true"); !errors.Is(err, ErrDied) {
		t.Errorf("command in a guest that is off: %v", err)
	}
}

func TestTimeLimit(t *testing.T) {
	_, err := Run(t, Guest{Timeout: 4 * time.Second}, "sh", "-c", "while :; do :; done")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("endless command: %v", err)
	}
	if _, err = Run(t, Guest{Modules: []string{"no-such"}}, "true"); err == nil ||
		!strings.Contains(err.Error(), "no module no-such") {
		t.Errorf("missing module: %v", err)
	}
	if _, err = Run(t, Guest{}, "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"); !errors.Is(err, ErrDied) {
		t.Errorf("kernel panic: %v", err)
	}
	if _, err = Run(t, Guest{}, "sh", "-c", "echo b >/proc/sysrq-trigger; sleep 60"); !errors.Is(err, ErrDied) {
		t.Errorf("reboot: %v", err)
	}
}

// TestEnter: the result of a test in a guest is its result outside.
func TestEnter(t *testing.T) {
	lane.Lab(t)
	for _, c := range []struct {
		name string
		exit int
		says string
	}{{"good", 0, "--- PASS: TestInner"}, {"bad", 1, "this is bad"}, {"skipped", 1, "this is skipped"}} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^TestInner$")
			cmd.Env = append(os.Environ(), victimEnv+"="+c.name)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != c.exit || !strings.Contains(string(out), c.says) {
				t.Errorf("exit %d\n%s", cmd.ProcessState.ExitCode(), out)
			}
		})
	}
}

// TestInner is what TestEnter runs; by itself it succeeds.
func TestInner(t *testing.T) {
	if !Enter(t, Guest{}) {
		return
	}
	switch os.Getenv(victimEnv) {
	case "bad":
		t.Error("this is bad")
	case "skipped":
		t.Skip("this is skipped")
	}
}

// TestHarnessKilled: no process and no directory is left of a test program that was killed, or of a guest whose kernel
// was killed from outside.
func TestHarnessKilled(t *testing.T) {
	if os.Getenv(victimEnv) == "harness" {
		m := Boot(t, Guest{Disks: []Disk{{Size: 1 << 20}}})
		go func() { _, _ = m.Run(context.Background(), "sh", "-c", "while :; do :; done") }()
		m.Sh("sleep 1000 >/dev/null 2>&1 &")
		fmt.Printf("guest %d %s\n", m.now.cmd.Process.Pid, m.Dir())
		select {}
	}
	lane.Lab(t)
	for _, killed := range []string{"harness", "kernel"} {
		t.Run(killed, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^TestHarnessKilled$")
			cmd.Env = append(os.Environ(), victimEnv+"=harness")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			var pid int
			var dir string
			for s := bufio.NewScanner(out); dir == "" && s.Scan(); {
				_, _ = fmt.Sscanf(s.Text(), "guest %d %s", &pid, &dir)
			}
			if dir == "" {
				t.Fatal("the victim has no guest")
			}
			space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(processesIn(space)); n < 3 {
				t.Errorf("a guest of %d processes: this test looks for the wrong ones", n)
			}
			victim := cmd.Process
			if killed == "kernel" {
				if victim, err = os.FindProcess(pid); err != nil {
					t.Fatal(err)
				}
			}
			if err := victim.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := waitFor("end of the guest", func() bool { return len(processesIn(space)) == 0 }); err != nil {
				t.Errorf("%v: %v", err, processesIn(space))
			}
			_ = cmd.Process.Kill()
			if err := waitFor("end of "+dir, func() bool { return !exists(dir) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// processesIn returns the processes in a PID namespace.
func processesIn(space string) []string {
	var out []string
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		if s, err := os.Readlink(p + "/ns/pid"); err == nil && s == space {
			out = append(out, filepath.Base(p))
		}
	}
	return out
}
