package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// answerLimit is the longest that a server may take to tell its position in Freeze and Thaw: a moment, unless it hangs.
const answerLimit = 10 * time.Second

// session is what the writer knows of one backup.
type session struct {
	mu     sync.Mutex // the fields below
	all    bool       // not in component mode: all clusters take part
	chosen []string   // else these
	held   []*held
	frozen bool
	done   bool // Thaw was well: the records are whole
}

// held is a cluster from PrepareSnapshot to Thaw. Its connection is the same all the time: that it still answers in Thaw
// proves that the server lived through the copy.
type held struct {
	*Cluster
	record record
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
		s = &session{all: true}
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

// hold takes clusters into the session, and lets those of an earlier set go.
func (s *session) hold(clusters []*Cluster) []*held {
	s.release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.frozen, s.done = nil, false, false
	for _, c := range clusters {
		h := &held{Cluster: c}
		h.life, h.end = context.WithCancel(context.Background())
		s.held = append(s.held, h)
	}
	return slices.Clone(s.held)
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

// takes says whether the backup has a cluster.
func (s *session) takes(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all || slices.Contains(s.chosen, name)
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

// veto makes a failure the writer's status: the requester decides whether the copy is worth having without this writer.
func (w *Writer) veto(e *writer.Event, op string, err error) {
	code := vss.CodeOf(err)
	if !vss.IsWriterError(code) {
		code = vss.ErrWriterErrorNonRetryable
	}
	message := err.Error()
	if hint := vss.Hint(err); hint != "" {
		message += " (" + hint + ")"
	}
	w.log.Error(op+" failed", "session", e.Session, "error", err)
	e.SetFailure(code, message)
}

// names are the components that were chosen by name.
func (s *session) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.chosen)
}
