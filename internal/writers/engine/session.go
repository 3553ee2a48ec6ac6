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

// session is the state of one backup.
type session struct {
	mu      sync.Mutex        // the fields below
	all     bool              // not in component mode: all instances take part
	chosen  []string          // otherwise these
	kind    vss.BackupType    // as the writer performs it
	after   map[string]string // backup stamps of the backups that chosen instances build on
	refused Failures          // of chosen instances, in PrepareBackup
	round   *round            // of the last PrepareSnapshot; never nil
	over    bool              // the session has ended: later events hold nothing
}

// round is the creation of one set in a session.
type round struct {
	life context.Context // cancelled at the end of the round
	end  context.CancelFunc

	mu     sync.Mutex // the fields below
	held   []Taken
	failed Failures // of instances that aren't held
	left   Failures // of instances on the set that Identify left out
	frozen bool     // from Freeze to Thaw
	done   bool     // Thaw succeeded
	over   bool     // released
}

func newRound(failed Failures) *round {
	r := &round{failed: failed}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// begin returns the session of an event, creating it if necessary.
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

// forget ends a session and releases its instances.
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

// next begins a round, after releasing the instances of the former one.
func (s *session) next() *round {
	s.now().release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round = newRound(maps.Clone(s.refused))
	s.round.over = s.over
	return s.round
}

// choose records the components of the backup and the kind of backup for this schema.
func (s *session) choose(e *writer.Event, schema vss.BackupSchema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := document.WriterMetadata{BackupSchema: schema}
	s.all, s.chosen, s.kind = e.Components == nil, nil, m.EffectiveType(e.BackupType)
	s.after, s.refused = map[string]string{}, nil
	if s.all { // without components there are no stamps, and no files can be left out
		s.kind = m.EffectiveType(vss.BackupFull)
		return
	}
	for _, c := range e.Components.Components {
		s.chosen = append(s.chosen, c.Name)
	}
	if s.buildsOn() {
		for _, c := range e.Components.Components {
			s.after[c.Name] = c.PreviousBackupStamp
		}
	}
}

// buildsOn reports whether the backup builds on an earlier one. Session.mu is held.
func (s *session) buildsOn() bool {
	return s.kind == vss.BackupIncremental || s.kind == vss.BackupDifferential
}

// incremental is buildsOn for callers that don't hold the lock.
func (s *session) incremental() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buildsOn()
}

// backup returns the backup that an instance is prepared for.
func (s *session) backup(name string) Backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Backup{s.kind, !s.all, s.after[name]}
}

// refuse records instances that can't take part.
func (s *session) refuse(failed Failures) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = failed
}

// takes reports whether the backup includes an instance.
func (s *session) takes(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[name] == nil && (s.all || slices.Contains(s.chosen, name))
}

// names returns the components that were chosen by name and not refused.
func (s *session) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.chosen), func(name string) bool { return s.refused[name] != nil })
}

// byName reports whether the backup has instances by name, so that each can have a failure of its own.
func (s *session) byName() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.all
}

// within returns a context that ends with the round.
func (r *round) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.life, cancel)
	return ctx, func() { stop(); cancel() }
}

var errLetGo = errors.New("the session has ended")

// add takes an instance into the round. If the round has ended, it releases the instance and returns an error.
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

// fail records failures and releases their instances.
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

// leave records the failures of instances that the round is without.
func (r *round) leave(left Failures) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = left
}

// leftOut returns the failures of instances that the round is without.
func (r *round) leftOut() Failures {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left
}

// failures returns the failures so far.
func (r *round) failures() Failures {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.failed)
}

// step sets the progress of the round.
func (r *round) step(frozen, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen, r.done = frozen, done
}

// at returns the instances and the progress of the round.
func (r *round) at() (all []Taken, frozen, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.held), r.frozen, r.done
}

// release ends the round and releases its instances. Their results remain readable.
func (r *round) release() {
	r.mu.Lock()
	r.over, r.frozen = true, false
	r.mu.Unlock()
	r.end()
	all, _, _ := r.at()
	_ = parallel(all, func(t Taken) error { t.Release(); return nil })
}
