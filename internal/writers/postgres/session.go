package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// answerLimit is the longest that a server may take to tell its position in Freeze and Thaw: a moment, unless it hangs.
const answerLimit = 10 * time.Second

// session is what the writer knows of one backup.
type session struct {
	mu      sync.Mutex       // the fields below
	all     bool             // not in component mode: all clusters take part
	chosen  []string         // else these
	kind    vss.BackupType   // full, copy, incremental or differential
	after   map[string]stamp // where chosen clusters' incremental and differential backups go on
	refused map[string]error // chosen clusters that failed in PrepareBackup
	failed  map[string]error // those and all that failed later
	held    []*held          // those that didn't
	frozen  bool
	done    bool // Thaw was well: the records are whole
}

// held is a cluster from PrepareSnapshot to Thaw. Its connection is the same all the time: that it still answers in Thaw
// proves that the server lived through the copy.
type held struct {
	*Cluster
	record record
	files  *wal            // nil until the server was asked
	oldest time.Time       // of the changes that an incremental or differential backup saves
	life   context.Context // ends when the session lets it go
	end    context.CancelFunc
	mu     sync.Mutex // the connection takes one question at a time
	conn   *pgx.Conn  // nil: let go
}

var errLetGo = errors.New("the writer has ended the session with the server")

// ask uses the connection within a limit, and not beyond the end of the session.
func (h *held) ask(ctx context.Context, limit time.Duration, question func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(h.life, cancel)()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == nil {
		return errLetGo
	}
	return question(ctx, h.conn)
}

// open connects.
func (h *held) open(ctx context.Context, connect func(context.Context, *Cluster) (*pgx.Conn, error)) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.life, cancel)()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn, err = connect(ctx, h.Cluster)
	return err
}

// letGo ends the session with the server. A question under way is given up first.
func (h *held) letGo() {
	h.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		hangUp(h.conn)
		h.conn = nil
	}
}

// begin gives the session of an event, a new one if need be.
func (w *Writer) begin(id vss.SessionID) *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[id]
	if s == nil {
		s = &session{all: true, kind: vss.BackupFull}
		w.sessions[id] = s
	}
	return s
}

// forget ends a session and gives what it held.
func (w *Writer) forget(id vss.SessionID) {
	w.mu.Lock()
	s := w.sessions[id]
	delete(w.sessions, id)
	w.mu.Unlock()
	if s != nil {
		s.release()
	}
}

// next begins with another set: what an earlier one held is let go.
func (s *session) next() {
	s.release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.frozen, s.done = nil, false, false
	s.failed = maps.Clone(s.refused)
}

// hold takes clusters into the session.
func (s *session) hold(clusters []*Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range clusters {
		h := &held{Cluster: c}
		h.life, h.end = context.WithCancel(context.Background())
		s.held = append(s.held, h)
	}
}

// each does something for all clusters at once. Those that fail are let go and noted.
func (s *session) each(f func(*held) error) {
	_ = each(s.clusters(), func(h *held) error {
		if err := f(h); err != nil {
			h.letGo()
			s.fail(h.Name, err)
		}
		return nil
	})
}

// fail notes the failure of a cluster, which takes part no longer.
func (s *session) fail(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = map[string]error{}
	}
	s.failed[name] = err
	s.held = slices.DeleteFunc(s.held, func(h *held) bool { return h.Name == name })
}

// failures are those of all clusters, by their names' order.
func (s *session) failures() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.failed)) {
		errs = append(errs, s.failed[name])
	}
	return errors.Join(errs...)
}

// failure is that of one cluster; nil.
func (s *session) failure(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed[name]
}

// step moves the session on: frozen from Freeze to Thaw, done after it.
func (s *session) step(frozen, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen, s.done = frozen, done
}

// at tells where the session is.
func (s *session) at() (frozen, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frozen, s.done
}

// release lets all servers go. What was learned of them stays.
func (s *session) release() {
	s.mu.Lock()
	all := slices.Clone(s.held)
	s.mu.Unlock()
	_ = each(all, func(h *held) error { h.letGo(); return nil })
}

// choose notes which components the backup has, and what kind of backup it is to a writer of this schema.
func (s *session) choose(e *writer.Event, schema vss.BackupSchema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := document.WriterMetadata{BackupSchema: schema}
	s.all, s.chosen, s.kind = e.Components == nil, nil, m.EffectiveType(e.BackupType)
	s.after, s.refused, s.failed = nil, nil, nil
	if s.all { // without components there are no stamps, and no files of which some could be left out
		s.kind = m.EffectiveType(vss.BackupFull)
		return
	}
	for _, c := range e.Components.Components {
		s.chosen = append(s.chosen, c.Name)
	}
}

// builds says whether the backup goes on from an earlier one.
func (s *session) builds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kind == vss.BackupIncremental || s.kind == vss.BackupDifferential
}

// stamps says whether later backups go on from this one.
func (s *session) stamps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kind == vss.BackupFull || s.kind == vss.BackupIncremental
}

// goesOn notes where a cluster's backup goes on.
func (s *session) goesOn(name string, from stamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.after == nil {
		s.after = map[string]stamp{}
	}
	s.after[name] = from
}

// base is where a cluster's backup goes on.
func (s *session) base(name string) (from stamp, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, ok = s.after[name]
	return from, ok
}

// takes says whether the backup has a cluster.
func (s *session) takes(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed[name] == nil && (s.all || slices.Contains(s.chosen, name))
}

func (s *session) clusters() []*held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.held)
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

// names are the components that were chosen by name and haven't failed.
func (s *session) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.chosen), func(name string) bool { return s.failed[name] != nil })
}
