package hold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// phase is the progress of a Guard.
type phase int

const (
	ready phase = iota
	held
	over
	gone
)

// grace is how long a call waits after the deadline for the outcome.
const grace = 100 * time.Millisecond

// Guard controls the freezer and the sentinel; this process is the third that watches. A Guard is good for one hold.
// Preflush, Flush, Hold and Release are called one after the other, Close at any time, also during another call.
type Guard struct {
	c       Config
	volumes []Volume
	roots   []*root
	b       *board
	record  record
	path    string // of the record

	freezer, sentinel *child
	stat              *os.File // the freezer's /proc/PID/stat
	line              *line
	awake, armed      chan struct{} // closed when the sentinel watches; when the deadline is on the board
	frozen, thawed    *alarm        // all volumes are
	watched           chan struct{} // watch has ended
	closing           sync.Once

	mu     sync.Mutex
	phase  phase
	failed error // outcome of Hold or Release
}

// watch is this process's part of the watch. It returns when both guards have ended and nothing is frozen by us.
func (g *Guard) watch() {
	defer close(g.watched)
	freezer, sentinel, rung, settled := g.freezer.in, g.sentinel.in, g.line.rung, g.line.settled
	deadline, kill := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	deadline.Stop()
	kill.Stop()
	for freezer != nil || sentinel != nil || settled != nil {
		select {
		case what, ok := <-freezer:
			switch {
			case !ok:
				freezer = nil
				g.line.gone.Store(true)
				g.giveUp(peerDied)
			case what == msgFrozen:
				g.frozen.ring()
			case what == msgThawed:
				g.thawed.ring()
			}
		case what, ok := <-sentinel:
			switch {
			case !ok:
				sentinel = nil
				g.giveUp(peerDied)
			case what == msgReady:
				g.awake <- struct{}{}
			}
		case <-g.armed:
			deadline.Reset(g.b.left())
		case <-deadline.C:
			if g.b.late() {
				g.giveUp(overrun)
			} else {
				deadline.Reset(g.b.left())
			}
		case <-rung:
			rung = nil
			kill.Reset(killAfter)
		case <-kill.C:
			if !g.b.allSettled() && g.b.mayKill(int(g.stat.Fd())) {
				g.freezer.kill()
			}
			kill.Reset(killAfter)
		case <-settled:
			settled = nil
			g.thawed.ring()
		}
	}
}

// giveUp ends the hold: all living processes thaw.
func (g *Guard) giveUp(why uint32) {
	g.b.end(why)
	g.line.ring()
	g.freezer.send(msgRelease)
}

// Hold flushes and freezes all volumes in parallel and returns when the last one is frozen. The limit runs from the
// first freeze on and includes the flush, since a freeze can't be interrupted. After an error nothing is frozen by us,
// except a volume that is still being flushed at the end of the limit: it is thawed as soon as its flush has ended,
// and Close waits for that.
//
// Errors: VSS_E_FLUSH_WRITES_TIMEOUT if the limit ended before the last volume was frozen; VSS_E_VOLUME_IN_USE if
// another program has frozen one (which is left alone); VSS_E_VOLUME_NOT_SUPPORTED if a file system can't be frozen;
// VSS_E_HOLD_WRITES_TIMEOUT if a guard died; VSS_E_BAD_STATE if the Guard was used before; VSS_E_UNEXPECTED otherwise,
// for example when ctx ends.
// Source: CommitSnapshots.
func (g *Guard) Hold(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase != ready {
		return vss.E("Hold", vss.ErrBadState, errors.New("the guard was used before"))
	}
	g.phase = held
	if g.failed = g.hold(ctx); g.failed != nil {
		g.phase = over
		g.forget()
	}
	return g.failed
}

func (g *Guard) hold(ctx context.Context) error {
	const op = "Hold"
	if err := g.prepare(ctx); err != nil {
		g.giveUp(cancelled)
		return vss.E(op, vss.ErrUnexpected, err).
			On(g.path).
			Advise("check that the run directory has free space and that no guard process was killed, then try again")
	}
	g.b.deadline.Store(clock() + g.b.limit.Load()) // the freezer sets it again when it begins
	g.armed <- struct{}{}
	g.freezer.send(msgHold)
	select {
	case <-g.frozen.rung:
	case <-g.thawed.rung:
	case <-g.line.rung:
	case <-ctx.Done():
		g.giveUp(cancelled)
	}
	if g.b.over.Load() == notOver {
		return nil
	}
	g.await()
	if err := g.failure(op); err != nil {
		return err
	}
	return vss.E(op, vss.ErrUnexpected, context.Cause(ctx))
}

// prepare checks that the sentinel watches and records what will be held.
func (g *Guard) prepare(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.b.deadline.Store(clock() + int64(awakeWithin) + g.b.limit.Load()) // in case this process is stopped now
	g.sentinel.send(msgHold)
	if err := g.record.publish(g.path); err != nil {
		return err
	}
	late := time.NewTimer(awakeWithin)
	defer late.Stop()
	select {
	case <-g.awake:
	case <-g.line.rung:
		return g.deadGuard()
	case <-late.C:
		return fmt.Errorf("the sentinel, process %d, did not answer in %v", g.sentinel.proc.Pid, awakeWithin)
	}
	if g.b.over.Load() != notOver {
		return g.deadGuard()
	}
	return nil
}

// await waits until nothing is held, or until the limit and a short grace period have passed.
func (g *Guard) await() {
	late := time.NewTimer(max(g.b.left(), 0) + grace)
	defer late.Stop()
	select {
	case <-g.thawed.rung:
	case <-late.C:
	}
}

// Release thaws all volumes in parallel. It returns when all are thawed, at the latest at the limit. After a failed
// Hold it returns the known times with the error of Hold.
//
// Errors: VSS_E_HOLD_WRITES_TIMEOUT if the volumes were not held until now: the limit passed, a guard died, or another
// program thawed a volume; VSS_E_BAD_STATE without a Hold before.
// Source: CommitSnapshots.
func (g *Guard) Release() (Result, error) {
	const op = "Release"
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.phase {
	case held:
	case over:
		return g.result(), g.failed
	default:
		return Result{}, vss.E(op, vss.ErrBadState, errors.New("nothing is held"))
	}
	if g.b.late() {
		g.b.end(overrun)
	} else {
		g.b.end(released)
	}
	g.freezer.send(msgRelease)
	g.await()
	g.phase = over
	g.failed = g.failure(op)
	g.forget()
	return g.result(), g.failed
}

// forget removes the record if nothing is held any more.
func (g *Guard) forget() {
	if g.b.allSettled() {
		_ = os.Remove(g.path)
	}
}

// Close ends both guards, after thawing what is held. It waits as long as we may have frozen a volume, that is until
// its flush has ended, and logs that. Further calls do nothing.
func (g *Guard) Close() error {
	g.closing.Do(func() {
		g.giveUp(closed)
		g.freezer.send(msgQuit)
		g.sentinel.send(msgQuit)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.awaitEnd()
		_ = os.Remove(g.path)
		g.phase = gone
		g.discard()
	})
	return nil
}

// awaitEnd returns when both guards have ended and nothing is held.
func (g *Guard) awaitEnd() {
	round := time.NewTicker(goneWithin)
	defer round.Stop()
	for n := 0; ; n++ {
		select {
		case <-g.watched:
			return
		case <-round.C:
		}
		if g.b.allSettled() { // a remaining guard is stopped
			g.freezer.kill()
			g.sentinel.kill()
			continue
		}
		if n%10 == 0 {
			var names []string
			for i, v := range g.volumes {
				if !g.b.settled(i) {
					names = append(names, v.Name)
				}
			}
			g.c.Logger.Warn(
				"volumes are flushing after their hold was given up; they are released as soon as that is done",
				"volumes",
				strings.Join(names, ", "),
			)
		}
	}
}
