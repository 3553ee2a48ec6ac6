// Package fault has the named points at which tests break the service: before and after every step of every sequence, every
// durable write, every call of a provider, an array or the hold. In a program the points are inert: only Enable, which only
// tests call, makes one of them act.
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

// Variable is the environment variable in which a test tells a process of the service where to break: POINT[#N] ACTION, for
// the Nth time that the point is reached (the first, without N). Actions are
//
//	kill        this process dies (SIGKILL)
//	pause DIR   DIR/hit is made, and the process goes on when DIR/go is there; meanwhile the test does what it wants
//	delay D     the process waits so long
//	fail CODE   the step fails with this HRESULT
//
// and "list FILE" in place of all that appends the name of every point that is reached to a file. Several plans are separated
// by semicolons.
const Variable = "VSS_FAULT"

// plan is what a process was told.
type plan struct {
	point, action, argument string
	nth                     int
	list                    *os.File

	mu   sync.Mutex
	seen int
}

var active atomic.Pointer[[]*plan]

// Enable makes this process break as the variable says. Errors: E_INVALIDARG.
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
	bad := vss.E("EnableFault", vss.ErrInvalidArg, nil).On(text).Advise("write POINT[#N] kill | pause DIR | delay D | fail CODE, or: list FILE")
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

// At is the point SEQUENCE/STEP/MOMENT. It returns an error only where a test lets it fail, and allocates nothing where it
// is inert.
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

// Around calls do between the points before and after it.
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
		return vss.E(name, vss.MakeCode(uint32(code), ""), fmt.Errorf("a fault that a test injected"))
	}
	return nil
}
