package engine

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// session is what the writer knows of one backup.
type session struct {
	mu     sync.Mutex // the fields below
	all    bool       // not in component mode: all instances take part
	chosen []string   // else these
	round  *round     // of the last PrepareSnapshot; never nil
	over   bool       // it has ended: what comes late holds nothing any more
}

// round is one set of a session.
type round struct {
	life context.Context // ends with the round
	end  context.CancelFunc

	mu     sync.Mutex // the fields below
	held   []Taken
	frozen bool // from Freeze to Thaw
	done   bool // Thaw was well
	over   bool // released
}

func newRound() *round {
	r := &round{}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// begin gives the session of an event, a new one if need be.
func (w *Writer) begin(id vss.SessionID) *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[id]
	if s == nil {
		s = &session{all: true, round: newRound()}
		w.sessions[id] = s
	}
	return s
}

// forget ends a session and releases what it held.
func (w *Writer) forget(id vss.SessionID) {
	w.mu.Lock()
	s := w.sessions[id]
	delete(w.sessions, id)
	w.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.now().release()
}

func (s *session) now() *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.round
}

// next begins a round. What an earlier one held is released.
func (s *session) next() *round {
	s.now().release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round = newRound()
	s.round.over = s.over
	return s.round
}

// choose notes which components the backup has.
func (s *session) choose(e *writer.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all, s.chosen = e.Components == nil, nil
	if e.Components != nil {
		for _, c := range e.Components.Components {
			s.chosen = append(s.chosen, c.Name)
		}
	}
}

// takes says whether the backup has an instance.
func (s *session) takes(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all || slices.Contains(s.chosen, name)
}

// names are the components that were chosen by name.
func (s *session) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.chosen)
}

// within is a context for work of the round: it ends with it.
func (r *round) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.life, cancel)
	return ctx, func() { stop(); cancel() }
}

var errLetGo = errors.New("the session ended meanwhile")

// add takes an instance into the round, or releases it where the round is over.
func (r *round) add(name string, h Held) error {
	r.mu.Lock()
	if !r.over {
		r.held = append(r.held, Taken{name, h})
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	h.Release()
	return errLetGo
}

// step moves the round on.
func (r *round) step(frozen, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen, r.done = frozen, done
}

// at tells where the round is and what it holds.
func (r *round) at() (all []Taken, frozen, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.held), r.frozen, r.done
}

// release ends the round. What was learned of the instances stays.
func (r *round) release() {
	r.mu.Lock()
	r.over, r.frozen = true, false
	r.mu.Unlock()
	r.end()
	all, _, _ := r.at()
	_ = each(all, func(t Taken) error { t.Release(); return nil })
}

// each does something for all at once and gives the failures.
func each[T any](all []T, f func(T) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { errs[i] = f(one) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
