package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// eventKind is an event of a backup or a restore.
type eventKind int

const (
	eventPrepareBackup eventKind = iota
	eventPrepareSnapshot
	eventFreeze
	eventThaw
	eventPostSnapshot
	eventBackupComplete
	eventBackupShutdown
	eventAbort
	eventPreRestore
	eventPostRestore
)

// happening is what an event is to the writers: whom it reaches, what it makes of their state.
type happening struct {
	name    string
	handler func(writer.Writer, context.Context, *writer.Event) error
	limit   func(*WriterLimits, *participant) time.Duration
	ok      vss.WriterState // of a writer that managed; 0: unchanged unless it is fine, which then is stable
	failed  vss.WriterState
	keeps   bool // changes of the components are kept
	due     func(p *participant) bool
	done    func(p *participant, well bool)
}

func working(p *participant) bool {
	return !p.state.Failed() && p.failure.Code != vss.ErrWriterNotResponding
}

// happenings is the state table of a writer in a session, by event. Source: writer's reference, state table.
var happenings = map[eventKind]happening{
	eventPrepareBackup: {"PrepareForBackup", writer.Writer.PrepareBackup, (*WriterLimits).work, vss.WriterStable, vss.WriterFailedAtPrepareBackup, true,
		working, nil},
	eventPrepareSnapshot: {"PrepareForSnapshot", writer.Writer.PrepareSnapshot, (*WriterLimits).prepareSnapshot, vss.WriterWaitingForFreeze, vss.WriterFailedAtPrepareSnapshot, false,
		working, nil},
	eventFreeze: {"Freeze", writer.Writer.Freeze, (*WriterLimits).window, vss.WriterWaitingForThaw, vss.WriterFailedAtFreeze, false,
		func(p *participant) bool { return working(p) && p.state == vss.WriterWaitingForFreeze },
		func(p *participant, well bool) { p.froze = well }},
	eventThaw: {"Thaw", writer.Writer.Thaw, (*WriterLimits).window, vss.WriterWaitingForPostSnapshot, vss.WriterFailedAtThaw, false,
		func(p *participant) bool { return p.froze && p.freezes },
		func(p *participant, well bool) { p.freezes, p.thawed = !well, well }},
	eventPostSnapshot: {"PostSnapshot", writer.Writer.PostSnapshot, (*WriterLimits).work, vss.WriterWaitingForBackupComplete, vss.WriterFailedAtPostSnapshot, true,
		func(p *participant) bool { return p.thawed },
		func(p *participant, _ bool) { p.posted = true }},
	eventBackupComplete: {"BackupComplete", writer.Writer.BackupComplete, (*WriterLimits).work, vss.WriterStable, vss.WriterFailedAtBackupComplete, false,
		working, nil},
	eventBackupShutdown: {"BackupShutdown", writer.Writer.BackupShutdown, (*WriterLimits).cleanUp, 0, vss.WriterFailedAtBackupShutdown, false,
		func(p *participant) bool { return p.told }, nil},
	eventAbort: {"Abort", writer.Writer.Abort, (*WriterLimits).cleanUp, 0, 0, false,
		func(p *participant) bool { return p.told && !p.posted },
		func(p *participant, _ bool) { p.freezes = false }},
	eventPreRestore: {"PreRestore", writer.Writer.PreRestore, (*WriterLimits).work, vss.WriterStable, vss.WriterFailedAtPreRestore, true,
		working,
		func(p *participant, _ bool) { p.primed = true }},
	eventPostRestore: {"PostRestore", writer.Writer.PostRestore, (*WriterLimits).work, vss.WriterStable, vss.WriterFailedAtPostRestore, true,
		func(p *participant) bool { return p.primed }, nil}, // also of one that failed in PreRestore: it may have stopped something
}

// event is what all writers are told of the session as it is now.
func (s *Session) event(c *creation) writer.Event {
	e := writer.Event{Session: s.ID, Context: s.context, BackupType: s.backup.BackupType, Partial: s.backup.PartialFileSupport, Bootable: s.backup.BootableSystemState}
	if c == nil {
		return e
	}
	e.SetID = c.id
	for _, v := range c.copies {
		e.Volumes = append(e.Volumes, v.vol.Name)
	}
	return e
}

// takesPart says whether a writer hears of this session at all.
func (s *Session) takesPart(p *participant) bool {
	if slices.Contains(restoring, s.phase) {
		return s.restores(p)
	}
	return !s.backup.SelectComponents || s.backup.Writer(p.Info.ID, p.ID) != nil
}

// deliverAll sends an event to every writer it is due to, at once, and waits for all. It returns the first fatal failure of
// one that is there.
func (s *Session) deliverAll(ctx context.Context, kind eventKind, e writer.Event) error {
	return s.deliver(ctx, kind, e, func(*participant) bool { return true })
}

func (s *Session) deliver(ctx context.Context, kind eventKind, e writer.Event, chosen func(*participant) bool) error {
	h := happenings[kind]
	w := &s.writers
	var due []*participant
	w.mu.Lock()
	for _, p := range w.all {
		if chosen(p) && s.takesPart(p) && h.due(p) {
			due = append(due, p)
			p.told = true
			if kind == eventFreeze {
				p.freezes, p.since = true, time.Now()
			}
		}
	}
	w.mu.Unlock()
	errs := make([]error, len(due))
	var wg sync.WaitGroup
	for i, p := range due {
		wg.Go(func() { errs[i] = s.tell(ctx, &h, kind, p, e) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// tell sends an event to one writer and keeps what came of it. Only what the writer itself says is fatal is returned.
func (s *Session) tell(ctx context.Context, h *happening, kind eventKind, p *participant, e writer.Event) error {
	mine := s.componentsOf(p)
	e.Components = mine.Clone()
	_, err := within(ctx, h.limit(&s.k.WriterLimits, p), func(ctx context.Context) (struct{}, error) { return struct{}{}, h.handler(p.Writer, ctx, &e) })
	absent := errors.Is(err, vss.ErrWriterNotResponding)
	w := &s.writers
	w.mu.Lock()
	defer w.mu.Unlock()
	// Whose window ended has thawed by itself, which is its own affair: in Freeze it was too late, in Thaw the copies exist.
	late := (kind == eventFreeze || kind == eventThaw) && vss.CodeOf(err) == vss.ErrWriterErrorTimeout && time.Since(p.since) >= p.window()
	absent = absent || late && kind == eventFreeze
	well := err == nil && (e.Failure == nil || !e.Failure.Code.Failed())
	if h.done != nil {
		h.done(p, well)
	}
	if (kind == eventThaw || kind == eventAbort) && !p.since.IsZero() {
		p.frozen, p.since = time.Since(p.since), time.Time{}
	}
	switch {
	case kind == eventPreRestore || kind == eventPostRestore:
		keepRestored(kind, mine, e.Components)
	case err == nil && h.keeps && mine != nil && e.Components != nil:
		mine.Components, mine.Other = e.Components.Components, e.Components.Other
	}
	switch {
	case well && h.ok != 0 && !p.state.Failed():
		p.state = h.ok
	case well && h.ok == 0 && !p.state.Failed():
		p.state = vss.WriterStable
	case well: // clean-up of a failed one: its failure stays
	case absent:
		if !p.state.Failed() {
			p.failure = notResponding(err)
			if h.failed != 0 {
				p.state = h.failed
			}
		}
	case !p.state.Failed() && h.failed != 0:
		p.state, p.failure = h.failed, writersFailure(err, e.Failure)
	}
	if !well {
		s.k.events.add(catalog.Event{Severity: "warning", What: "writer-failed", SetID: e.SetID, Object: p.Info.Name, Code: p.failure.Code,
			Message: fmt.Sprintf("%s: %s", h.name, p.failure.Message), Hint: "the writer's own log says more; `vss list writers` shows who is there"})
	}
	if err != nil && !absent && !late {
		return vss.E(h.name, vss.ErrUnexpectedWriterError, err).On(p.Info.Name).Advise("the writer gave up; its own log says why. Leave it out with --writer-exclude, or cure it")
	}
	return nil
}

// writersFailure is a writer's failure as the requester sees it. A writer may say WRITERERROR codes only.
func writersFailure(err error, said *writer.Failure) writer.Failure {
	if said != nil && said.Code.Failed() {
		return *said
	}
	f := writer.Failure{Code: vss.ErrWriterErrorNonRetryable}
	if err != nil {
		f.Message = err.Error()
		if c := vss.CodeOf(err); vss.IsWriterError(c) {
			f.Code = c
		}
	}
	return f
}

func notResponding(err error) writer.Failure {
	return writer.Failure{Code: vss.ErrWriterNotResponding, Message: err.Error()}
}

// within calls f and doesn't wait longer than limit for it, whatever it does with its context. One that is late, or whose
// process is gone, is VSS_E_WRITER_NOT_RESPONDING.
func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		v, err := f(ctx)
		answered <- answer{v, err}
	}()
	var a answer
	select {
	case a = <-answered:
	case <-ctx.Done():
		select {
		case a = <-answered:
		case <-time.After(50 * time.Millisecond): // who heeds the context may still say why
			a.err = fmt.Errorf("no answer in %v: %w", limit, ctx.Err())
		}
	}
	silent := errors.Is(a.err, context.DeadlineExceeded) || errors.Is(a.err, context.Canceled) || errors.Is(a.err, wire.ErrServiceGone)
	if silent && vss.CodeOf(a.err) != vss.ErrWriterNotResponding {
		a.err = vss.E("WriterEvent", vss.ErrWriterNotResponding, a.err)
	}
	return a.value, a.err
}

// levels in the order of Freeze; Thaw goes the other way.
var levels = []vss.ApplicationLevel{vss.LevelFrontEnd, vss.LevelBackEnd, vss.LevelSystem}

// levelOf puts a writer of an undefined level among the front ends, which is the default.
func levelOf(p *participant) vss.ApplicationLevel {
	if l := p.Info.Level; l == vss.LevelBackEnd || l == vss.LevelSystem {
		return l
	}
	return vss.LevelFrontEnd
}

// prepareSnapshot has the writers do what is slow. That they may be told is durable first: recovery tells them Abort.
func (c *creation) prepareSnapshot(ctx context.Context) error {
	if !c.s.withWriters() {
		return nil
	}
	c.record.Writers = true
	if err := c.k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutCreation(c.record) }); err != nil {
		return err
	}
	_ = c.s.deliverAll(ctx, eventPrepareSnapshot, c.s.event(c)) // a failure here doesn't fail the set: the writer's status tells
	return c.s.requiredWell()
}

// freeze stops the writers, level after level.
func (c *creation) freeze(ctx context.Context) error {
	if !c.s.withWriters() {
		return nil
	}
	c.frozenAt = time.Now()
	for _, l := range levels {
		if err := c.s.deliver(ctx, eventFreeze, c.s.event(c), func(p *participant) bool { return levelOf(p) == l }); err != nil {
			return cmp.Or(c.s.requiredWell(), err)
		}
	}
	return cmp.Or(c.s.requiredWell(), c.s.windowsOpen())
}

// windowsOpen fails once a frozen writer's time is over: it has thawed by itself.
func (s *Session) windowsOpen() error {
	w := &s.writers
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.all {
		if p.froze && p.freezes && time.Since(p.since) > p.window() {
			return vss.E("Freeze", vss.ErrUnexpectedWriterError, vss.E("Freeze", vss.ErrWriterErrorTimeout, fmt.Errorf("frozen for more than %v before the copies were made", p.window()))).
				On(p.Info.Name).Advise("another writer or a provider was slow: see the timeline; wait ten minutes and try again, at most three times")
		}
	}
	return nil
}

// thaw lets the writers go on, in reverse order. Who failed in Freeze is told Abort.
func (c *creation) thaw(ctx context.Context) error {
	if !c.s.withWriters() {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := c.letGo(ctx, eventThaw)
	_ = c.s.deliver(ctx, eventAbort, c.s.event(c), func(p *participant) bool { return p.freezes })
	c.thawedAt = time.Now()
	return cmp.Or(c.s.requiredWell(), err)
}

// abortWriters tells all writers that the set is given up, those that are frozen in the order of Thaw.
func (c *creation) abortWriters(ctx context.Context) {
	if !c.s.withWriters() {
		return
	}
	_ = c.letGo(ctx, eventAbort) // the set has failed already; a writer's status tells
	if c.thawedAt.IsZero() {
		c.thawedAt = time.Now()
	}
}

// letGo sends Thaw or Abort to the writers, level after level, the other way round than Freeze. Nobody stays frozen for
// another's sake: a level keeps the next one waiting for thawPatience at most, and who is known not to respond keeps nobody
// waiting. It returns the first fatal failure when all have answered or are out of time.
func (c *creation) letGo(ctx context.Context, kind eventKind) error {
	w := &c.s.writers
	gone := map[*participant]bool{}
	w.mu.Lock()
	for _, p := range w.all {
		gone[p] = p.failure.Code == vss.ErrWriterNotResponding
	}
	w.mu.Unlock()
	e := c.s.event(c)
	errs := make([]error, len(levels)+1)
	var all sync.WaitGroup
	send := func(i int, chosen func(*participant) bool) <-chan struct{} {
		answered := make(chan struct{})
		all.Go(func() {
			defer close(answered)
			errs[i] = c.s.deliver(ctx, kind, e, chosen)
		})
		return answered
	}
	send(len(levels), func(p *participant) bool { return gone[p] })
	for i := len(levels) - 1; i >= 0; i-- {
		answered := send(i, func(p *participant) bool { return !gone[p] && levelOf(p) == levels[i] })
		select {
		case <-answered:
		case <-time.After(thawPatience):
		}
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// postSnapshot lets the writers see to the copies.
func (c *creation) postSnapshot(ctx context.Context) error {
	if !c.s.withWriters() {
		return nil
	}
	e := c.s.event(c)
	e.Writable = c.recovery
	e.Devices = map[string]string{}
	for _, s := range c.copies {
		if d := c.k.deviceObject(&s.record); d != "" {
			e.Devices[s.vol.Name] = d
		}
	}
	_ = c.s.deliverAll(ctx, eventPostSnapshot, e) // a failure here doesn't fail the set: the writer's status tells
	return c.s.requiredWell()
}

// wantsRecovery says whether a writer that takes part has data to recover, or files to delete, in the copies.
func (s *Session) wantsRecovery(c *creation) bool {
	flags := vss.ComponentBackupRecovery
	if c.context.Has(vss.AttrRollbackRecovery) {
		flags |= vss.ComponentAppRollbackRecovery
	}
	w := &s.writers
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.all {
		if !s.takesPart(p) || !p.thawed {
			continue
		}
		if len(p.meta.ExcludeFilesFromSnapshot) > 0 {
			return true
		}
		for _, m := range s.included(p) {
			if m.Flags&flags != 0 {
				return true
			}
		}
	}
	return false
}

// included are the writer's components that the backup has, with all that come with them.
func (s *Session) included(p *participant) []*document.WMComponent {
	if s.backup.SelectComponents {
		if w := s.backup.Writer(p.Info.ID, p.ID); w != nil {
			return p.meta.Included(w)
		}
		return nil
	}
	var out []*document.WMComponent
	for i := range p.meta.Components {
		out = append(out, &p.meta.Components[i])
	}
	return out
}
