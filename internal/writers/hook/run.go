package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	exitRetry = 75          // EX_TEMPFAIL: worth retrying
	waitDelay = time.Second // for background processes of a script to close its output
	maxTalk   = 4 << 10     // bytes of stderr that are examined, from the end

	maxVariable = 64 << 10 // bytes; the kernel's limit is 128 KiB
)

// command is an executable and its arguments.
type command struct {
	path string
	args []string
}

// run runs an executable until ctx ends, when its process group is killed, and returns its output. With perishable it
// is killed together with the service. Errors: VSS_E_WRITERERROR_RETRYABLE for exit status 75, otherwise
// VSS_E_WRITERERROR_NONRETRYABLE; the cause is the last line of its stderr. Background processes of a successful
// executable continue: many scripts hold a lock that way.
func (h *hook) run(ctx context.Context, c command, p payload, maxOut int, perishable bool) ([]byte, error) {
	fail := func(code vss.Code, err error) error {
		return vss.E(p.Event, code, err).On(c.path).Advise("see the script and its output on stderr")
	}
	if real, err := executable(c.path); err != nil || real != c.path {
		return nil, fail(
			vss.ErrWriterErrorNonRetryable,
			errors.Join(err, errors.New("it has changed since the service started")),
		)
	}
	in, err := json.Marshal(p)
	if err != nil {
		return nil, fail(vss.ErrWriterErrorNonRetryable, err)
	}
	out, talk := &head{max: maxOut}, &tail{}
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Dir, cmd.Env = h.folder, h.environment(p)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), out, talk
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = waitDelay
	if perishable {
		// The signal is sent when the thread that started the process ends, so this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it succeeded, and a process of it continues in the background
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, fail(
			vss.ErrWriterErrorNonRetryable,
			fmt.Errorf("killed after exceeding its time limit: %w", ctx.Err()),
		)
	case err == nil && out.over:
		return nil, fail(vss.ErrWriterErrorNonRetryable, fmt.Errorf("it printed more than %d bytes", maxOut))
	case err == nil:
		return out.kept.Bytes(), nil
	case errors.As(err, &exit) && talk.last() != "":
		err = fmt.Errorf("%s (%w)", talk.last(), exit)
	}
	if exit != nil && exit.ExitCode() == exitRetry {
		return nil, fail(vss.ErrWriterErrorRetryable, err)
	}
	return nil, fail(vss.ErrWriterErrorNonRetryable, err)
}

// environment returns a minimal environment with the session. Lists have a line for each member; volumes also have
// variables of their own. Values too long for a variable are only on stdin.
func (h *hook) environment(p payload) []string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "LANG=C.UTF-8"}
	set := func(name, value string) {
		if len(value) <= maxVariable {
			env = append(env, "VSS_"+name+"="+strings.ReplaceAll(value, "\x00", ""))
		}
	}
	yesNo := map[bool]string{true: "yes", false: "no"}
	set("EVENT", p.Event)
	set("WRITER_ID", h.ID.String())
	set("WRITER_NAME", h.Name)
	set("SESSION", p.Session.String())
	set("SET_ID", p.SetID.String())
	set("CONTEXT", p.Context)
	set("BACKUP_TYPE", p.BackupType)
	set("WRITABLE", yesNo[p.Writable])
	set("PARTIAL", yesNo[p.Partial])
	set("BOOTABLE", yesNo[p.Bootable])
	set("VOLUMES", strings.Join(p.Volumes, "\n"))
	for i, v := range p.Volumes {
		set(fmt.Sprintf("VOLUME_%d", i+1), v)
		if d := p.Devices[v]; d != "" {
			set(fmt.Sprintf("DEVICE_%d", i+1), d)
		}
	}
	var names []string
	for _, c := range p.Components {
		names = append(names, strings.TrimPrefix(c.LogicalPath+`\`+c.Name, `\`))
	}
	set("COMPONENTS", strings.Join(names, "\n"))
	return env
}

// head keeps the first bytes written and records whether there were more. It must not have ReadFrom, which os/exec
// would use instead of Write.
type head struct {
	kept bytes.Buffer
	max  int
	over bool
}

// Write implements io.Writer.
func (h *head) Write(b []byte) (int, error) {
	n := len(b)
	if room := h.max - h.kept.Len(); n > room {
		b, h.over = b[:room], true
	}
	_, err := h.kept.Write(b)
	return n, err
}

// tail keeps the last bytes written.
type tail struct{ b []byte }

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if over := len(t.b) - maxTalk; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

// last returns the last line that isn't empty.
func (t *tail) last() string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.b), "?"))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
