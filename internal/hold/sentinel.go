package hold

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sentinel is the process that only watches.
type sentinel struct {
	guard
	line *line
}

func newSentinel(g guard) *sentinel { return &sentinel{guard: g, line: newLine(g.b, g.fds)} }

// run watches until the coordinator sends quit or dies, the freezer has ended and no file system is frozen by us.
func (s *sentinel) run() {
	coordinator, freezer, rung, settled := s.coordinator.in, s.peer.in, s.line.rung, s.line.settled
	deadline, kill := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	deadline.Stop()
	kill.Stop()
	quit := false
	s.coordinator.send(msgReady)
	for {
		select {
		case what, ok := <-coordinator:
			switch {
			case !ok:
				coordinator, quit = nil, true
				s.giveUp(peerDied)
			case what == msgHold:
				deadline.Reset(time.Duration(s.b.limit.Load())) // the deadline is on the board by then
				s.coordinator.send(msgReady)
			case what == msgQuit:
				quit = true
			}
		case _, ok := <-freezer:
			if !ok {
				freezer = nil
				s.line.gone.Store(true)
				s.giveUp(peerDied)
			}
		case <-deadline.C:
			if s.b.late() {
				s.giveUp(overrun)
			} else {
				// often, since the deadline may still be brought forward when the freezer begins
				deadline.Reset(min(s.b.left(), retry))
			}
		case <-rung:
			rung = nil
			kill.Reset(killAfter)
		case <-kill.C:
			if (coordinator == nil || !s.b.allSettled()) && s.b.mayKill(s.freezerStat) {
				_ = unix.PidfdSendSignal(s.freezer, unix.SIGKILL, nil, 0)
			}
			kill.Reset(killAfter)
		case <-settled:
			settled = nil
		}
		if quit && freezer == nil && settled == nil {
			break
		}
	}
	if coordinator == nil {
		_ = os.Remove(s.record)
	}
}

func (s *sentinel) giveUp(why uint32) {
	s.b.end(why)
	s.line.ring()
}
