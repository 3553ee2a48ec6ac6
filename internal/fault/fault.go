// Package fault provides named points at which tests can make the service fail: before and after every step of a
// sequence, every durable write, and every call of a provider, an array or the hold. In a program the points do
// nothing unless Enable is called, which only tests do.
package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Variable is the environment variable by which a test enables faults in a process of the service: POINT[#N] ACTION,
// for the Nth time that the point is reached (the first without N). Actions are
//
//	kill        the process is killed (SIGKILL)
//	pause DIR   DIR/hit is created, and the process waits until DIR/go exists
//	delay D     the process waits for a duration
//	fail CODE   the step fails with this HRESULT
//
// With "list FILE" instead, the name of every point that is reached is appended to a file. Several faults are
// separated by semicolons.
const Variable = "VSS_FAULT"

// plan is one enabled fault.
type plan struct {
	point, action, argument string
	nth                     int
	list                    *os.File

	mu   sync.Mutex
	seen int
}

var active atomic.Pointer[[]*plan]

// Enable enables faults in this process, in the form described at Variable. Errors: E_INVALIDARG.
func Enable(text string) error {
	if text == "" {
		return nil
	}
	var plans []*plan
	for _, t := range strings.Split(text, ";") {
		p, err := parse(t)
		if err != nil {
			return err
		}
		plans = append(plans, p)
	}
	active.Store(&plans)
	return nil
}

func parse(text string) (*plan, error) {
	bad := vss.E("EnableFault", vss.ErrInvalidArg, nil).
		On(text).
		Advise("write POINT[#N] kill | pause DIR | delay D | fail CODE, or: list FILE")
	f := strings.Fields(text)
	p := &plan{nth: 1}
	switch {
	case len(f) == 2 && f[0] == "list":
		var err error
		if p.list, err = os.OpenFile(f[1], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			return nil, err
		}
	case len(f) == 2 && f[1] == "kill", len(f) == 3 && slices.Contains([]string{"pause", "delay", "fail"}, f[1]):
		point, nth, numbered := strings.Cut(f[0], "#")
		p.point, p.action, p.argument = point, f[1], strings.Join(f[2:], "")
		if numbered {
			n, err := strconv.Atoi(nth)
			if err != nil || n < 1 {
				return nil, bad
			}
			p.nth = n
		}
	default:
		return nil, bad
	}
	return p, nil
}

// At is the point SEQUENCE/STEP/MOMENT. It returns an error only if a test makes it fail, and doesn't allocate if no
// fault is enabled.
func At(sequence, step, moment string) error {
	plans := active.Load()
	if plans == nil {
		return nil
	}
	for _, p := range *plans {
		if err := p.reach(sequence + "/" + step + "/" + moment); err != nil {
			return err
		}
	}
	return nil
}

// Around calls do between the points before and after a step.
func Around(sequence, step string, do func() error) error {
	err := At(sequence, step, "before")
	if err == nil {
		err = do()
	}
	if err == nil {
		err = At(sequence, step, "after")
	}
	return err
}

func (p *plan) reach(name string) error {
	if p.list != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _ = p.list.WriteString(name + "\n")
		return nil
	}
	if name != p.point {
		return nil
	}
	p.mu.Lock()
	p.seen++
	now := p.seen == p.nth
	p.mu.Unlock()
	if !now {
		return nil
	}
	switch p.action {
	case "kill":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "pause":
		_ = os.WriteFile(filepath.Join(p.argument, "hit"), []byte(name), 0o644)
		for {
			if _, err := os.Stat(filepath.Join(p.argument, "go")); err == nil {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
	case "delay":
		if d, err := time.ParseDuration(p.argument); err == nil {
			time.Sleep(d)
		}
	case "fail":
		code, err := strconv.ParseUint(p.argument, 0, 32)
		if err != nil {
			code = uint64(vss.ErrUnexpected.HRESULT())
		}
		return vss.E(name, vss.MakeCode(uint32(code), ""), fmt.Errorf("fault injected by a test"))
	}
	return nil
}
