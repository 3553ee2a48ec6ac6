package hold

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Result holds the times of a hold. A time is zero if the hold didn't get that far.
type Result struct {
	Start   time.Time // immediately before the first FIFREEZE
	Frozen  time.Time // the last FIFREEZE returned
	End     time.Time // the last FITHAW returned
	Volumes []VolumeResult
}

// VolumeResult holds the times of one volume.
type VolumeResult struct {
	Name               string
	Start, Frozen, End time.Time
}

// result reads the board.
func (g *Guard) result() Result {
	wall, mono := time.Now(), clock()
	at := func(ns int64) time.Time {
		if ns == 0 {
			return time.Time{}
		}
		return wall.Add(time.Duration(ns - mono))
	}
	var r Result
	var froze int64
	for i, v := range g.volumes {
		m := &g.b.marks[i]
		r.Volumes = append(
			r.Volumes,
			VolumeResult{Name: v.Name, Start: at(m.begun.Load()), Frozen: at(m.froze.Load()), End: at(m.ended.Load())},
		)
		froze = max(froze, m.froze.Load())
	}
	r.Start, r.Frozen, r.End = at(g.b.start.Load()), at(froze), at(g.ended())
	return r
}

// failure returns the error of the hold; nil if it succeeded.
func (g *Guard) failure(op string) error {
	var late, missing []string
	limit := g.b.deadline.Load()
	for i, v := range g.volumes {
		m := &g.b.marks[i]
		errno := syscall.Errno(m.errno.Load())
		switch m.state.Load() {
		case foreign:
			return vss.E(op, vss.ErrVolumeInUse, syscall.EBUSY).
				On(v.Name).
				Advise("another program has frozen it (fsfreeze, qemu-ga): try again when it is thawed")
		case failed:
			if errno == syscall.EOPNOTSUPP || errno == syscall.ENOTTY {
				return vss.E(op, vss.ErrVolumeNotSupported, errno).
					On(v.Name).
					Advise("this file system can't be frozen: remove it from the set")
			}
			return vss.E(op, vss.ErrUnexpected, fmt.Errorf("freeze: %w", errno)).
				On(v.Name).
				Advise("check the kernel log for errors of this file system")
		case lost:
			missing = append(missing, v.Name)
		}
		if froze := m.froze.Load(); froze == 0 || froze > limit {
			late = append(late, v.Name)
		}
	}
	names := strings.Join(late, ", ")
	const later = "wait ten minutes and try again, at most three times"
	switch g.b.over.Load() {
	case overrun:
		if len(late) > 0 {
			return vss.E(op, vss.ErrFlushWritesTimeout, fmt.Errorf("the flush took longer than %v", g.c.Limit)).
				On(names).
				Advise(later)
		}
		return vss.E(op, vss.ErrHoldWritesTimeout, fmt.Errorf("released at the limit of %v", g.c.Limit)).Advise(later)
	case peerDied:
		return vss.E(op, vss.ErrHoldWritesTimeout, g.deadGuard()).Advise("find out what killed it, then try again")
	case closed:
		return vss.E(op, vss.ErrHoldWritesTimeout, errors.New("the guard was closed"))
	case released:
		if len(missing) > 0 {
			return vss.E(op, vss.ErrHoldWritesTimeout, errors.New("another program thawed it meanwhile")).
				On(strings.Join(missing, ", ")).
				Advise("find the program that thaws it (fsfreeze, qemu-ga), then try again")
		}
		if !g.b.allSettled() || g.ended() > limit {
			return vss.E(op, vss.ErrHoldWritesTimeout,
				fmt.Errorf("not all volumes were thawed at the limit of %v", g.c.Limit)).
				Advise(later)
		}
	}
	return nil
}

// ended returns the time when the last thaw returned, by clock.
func (g *Guard) ended() int64 {
	var last int64
	for i := range g.b.marks {
		last = max(last, g.b.marks[i].ended.Load())
	}
	return last
}

// deadGuard returns an error that names the guard that died.
func (g *Guard) deadGuard() error {
	if g.line.gone.Load() {
		return fmt.Errorf("the freezer, process %d, died", g.freezer.proc.Pid)
	}
	return fmt.Errorf("the sentinel, process %d, died", g.sentinel.proc.Pid)
}
