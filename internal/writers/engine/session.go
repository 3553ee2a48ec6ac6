package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// session is what the writer knows of one backup.
type session struct {
	mu      sync.Mutex        // the fields below
	all     bool              // not in component mode: all instances take part
	chosen  []string          // else these
	kind    vss.BackupType    // as the writer makes it
	after   map[string]string // the stamps that chosen instances' backups go on from
	refused Failures          // of chosen instances, in PrepareBackup
	round   *round            // of the last PrepareSnapshot; never nil
	over    bool              // it has ended: what comes late holds nothing any more
}

// round is one set of a session.
type round struct {
	life context.Context // ends with the round
	end  context.CancelFunc

	mu     sync.Mutex // the fields below
	held   []Taken
	failed Failures // of those that aren't held, or no more
	frozen bool     // from Freeze to Thaw
	done   bool     // Thaw was well
	over   bool     // released
}

func newRound(failed Failures) *round {
	r := &round{failed: failed}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// begin gives the session of an event, a new one if need be.
func (w *Writer) begin(id vss.SessionID) *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[id]
	if s == nil {
		s = &session{all: true, kind: vss.BackupFull, round: newRound(nil)}
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
	s.round = newRound(maps.Clone(s.refused))
	s.round.over = s.over
	return s.round
}

// choose notes which components the backup has, and what kind of backup it is to a writer of this schema.
func (s *session) choose(e *writer.Event, schema vss.BackupSchema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := document.WriterMetadata{BackupSchema: schema}
	s.all, s.chosen, s.kind = e.Components == nil, nil, m.EffectiveType(e.BackupType)
	s.after, s.refused = map[string]string{}, nil
	if s.all { // without components there are no stamps, and no files of which some could be left out
		s.kind = m.EffectiveType(vss.BackupFull)
		return
	}
	for _, c := range e.Components.Components {
		s.chosen = append(s.chosen, c.Name)
	}
	if s.goesOn() {
		for _, c := range e.Components.Components {
			s.after[c.Name] = c.PreviousBackupStamp
		}
	}
}

// goesOn says whether the backup goes on from an earlier one. Session.mu is held.
func (s *session) goesOn() bool {
	return s.kind == vss.BackupIncremental || s.kind == vss.BackupDifferential
}

// builds is goesOn.
func (s *session) builds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goesOn()
}

// backup is what an instance is prepared for.
func (s *session) backup(name string) Backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Backup{s.kind, s.after[name]}
}

// refuse notes which instances can't take part.
func (s *session) refuse(failed Failures) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = failed
}

// takes says whether the backup has an instance.
func (s *session) takes(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[name] == nil && (s.all || slices.Contains(s.chosen, name))
}

// names are the components that were chosen by name and not refused.
func (s *session) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.chosen), func(name string) bool { return s.refused[name] != nil })
}

// byName says whether the backup has instances by name, so that each can have a failure of its own.
func (s *session) byName() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.all
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

// fail notes failures and lets go whom they are of.
func (r *round) fail(failed Failures) {
	if len(failed) == 0 {
		return
	}
	r.mu.Lock()
	if r.failed == nil {
		r.failed = Failures{}
	}
	maps.Copy(r.failed, failed)
	var gone []Taken
	r.held = slices.DeleteFunc(r.held, func(t Taken) bool {
		if failed[t.Name] == nil {
			return false
		}
		gone = append(gone, t)
		return true
	})
	r.mu.Unlock()
	_ = parallel(gone, func(t Taken) error { t.Release(); return nil })
}

// failures are those so far.
func (r *round) failures() Failures {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.failed)
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
	_ = parallel(all, func(t Taken) error { t.Release(); return nil })
}
