package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// writerSelection is which writers a session involves, and how each of them is.
type writerSelection struct {
	enabling  bool // EnableWriterClasses was called: only lists all classes that take part
	only, off []string
	instances []vss.WriterInstanceID // that don't take part
	gathered  bool
	left      []writer.Info // that run and don't take part

	mu  sync.Mutex // the participants' fields
	all []*participant
}

// participant is one writer instance in a session. Its state is kept here: a writer is in as many states as it is in
// sessions.
type participant struct {
	*writer.Instance
	meta    *document.WriterMetadata
	state   vss.WriterState
	failure writer.Failure
	told    bool          // it was sent PrepareForBackup or later: it hears BackupShutdown
	freezes bool          // Freeze was sent, and neither Thaw nor Abort answered
	froze   bool          // Freeze succeeded
	thawed  bool          // Thaw succeeded
	posted  bool          // it had PostSnapshot: no Abort any more
	primed  bool          // it was sent PreRestore: it hears PostRestore
	since   time.Time     // Freeze was sent
	frozen  time.Duration // Freeze sent to Thaw answered
}

// window is how long the writer lets itself be frozen.
func (p *participant) window() time.Duration {
	if t := p.Info.FreezeTimeout; t > 0 && t < writer.DefaultFreezeTimeout {
		return t
	}
	return writer.DefaultFreezeTimeout
}

// EnableWriterClasses lets only classes named here take part, by id or name. Its first call cancels earlier
// DisableWriterClasses. After GatherWriterMetadata nothing happens. Errors: VSS_E_BAD_STATE.
func (s *Session) EnableWriterClasses(classes []string) error {
	return s.choose("EnableWriterClasses", func(w *writerSelection) {
		if !w.enabling {
			w.enabling, w.only, w.off = true, nil, nil
		}
		w.only = append(w.only, classes...)
	})
}

// DisableWriterClasses keeps classes out; after EnableWriterClasses it takes away from what those let in.
func (s *Session) DisableWriterClasses(classes []string) error {
	return s.choose("DisableWriterClasses", func(w *writerSelection) { w.off = append(w.off, classes...) })
}

// DisableWriterInstances keeps single instances out.
func (s *Session) DisableWriterInstances(ids []vss.WriterInstanceID) error {
	return s.choose("DisableWriterInstances", func(w *writerSelection) { w.instances = append(w.instances, ids...) })
}

func (s *Session) choose(op string, change func(*writerSelection)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, append([]phase{phaseInit, phaseOpen, phasePrepared, phaseCreated, phaseComplete}, restoring...)...); err != nil {
		return err
	}
	if !s.writers.gathered {
		change(&s.writers)
	}
	return nil
}

// invited says whether an instance takes part.
func (w *writerSelection) invited(i *writer.Instance) bool {
	return (!w.enabling || listed(w.only, &i.Info)) && !listed(w.off, &i.Info) && !slices.Contains(w.instances, i.ID)
}

// GatherWriterMetadata has every invited writer identify itself, once in a session. A writer that fails or doesn't answer
// is not in the session. Errors: VSS_E_BAD_STATE.
func (s *Session) GatherWriterMetadata() (*Async, error) {
	const op = "GatherWriterMetadata"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, phaseInit, phaseOpen, phaseRestore); err != nil {
		return nil, err
	}
	if s.writers.gathered {
		return nil, vss.E(op, vss.ErrBadState, errors.New("the metadata were gathered before"))
	}
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		a.progress("identify", 0)
		var left []writer.Info
		found := s.k.identify(ctx, func(i *writer.Instance) bool {
			if s.writers.invited(i) {
				return true
			}
			left = append(left, i.Info)
			return false
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writers.all, s.writers.left, s.writers.gathered = found, left, true
		return vss.OK, ctx.Err()
	}), nil
}

// identify asks all writers who run now, at once.
func (k *Coordinator) identify(ctx context.Context, invited func(*writer.Instance) bool) []*participant {
	var asked []*writer.Instance
	for _, i := range k.Writers(ctx) {
		if invited(i) {
			asked = append(asked, i)
		}
	}
	answers := make([]*participant, len(asked))
	var wg sync.WaitGroup
	for n, i := range asked {
		wg.Go(func() {
			meta, err := within(ctx, k.WriterLimits.identify(), func(ctx context.Context) (*document.WriterMetadata, error) { return i.Writer.Identify(ctx) })
			if err != nil {
				k.events.add(catalog.Event{Severity: "warning", What: "writer-failed", Object: i.Info.Name, Code: vss.CodeOf(err), Message: "Identify: " + err.Error(), Hint: "the writer takes no part; see its own log"})
				return
			}
			meta.WriterID, meta.InstanceID, meta.Name = i.Info.ID, i.ID, i.Info.Name // they were checked on their way here
			answers[n] = &participant{Instance: i, meta: meta, state: vss.WriterStable}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(answers, func(p *participant) bool { return p == nil })
}

// WriterMetadata is what the writers of the session said of themselves. Errors: VSS_E_BAD_STATE before it was gathered.
func (s *Session) WriterMetadata() ([]*document.WriterMetadata, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("GetWriterMetadata", true, everything...); err != nil {
		return nil, err
	}
	if !s.writers.gathered {
		return nil, vss.E("GetWriterMetadata", vss.ErrBadState, errors.New("GatherWriterMetadata comes first"))
	}
	var out []*document.WriterMetadata
	for _, p := range s.writers.all {
		out = append(out, p.meta)
	}
	return out, nil
}

// GatherWriterStatus finds out which writers are still there; their states are known. Errors: VSS_E_BAD_STATE.
func (s *Session) GatherWriterStatus() (*Async, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("GatherWriterStatus", true, everything...); err != nil {
		return nil, err
	}
	all := s.writers.all
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		var wg sync.WaitGroup
		for _, p := range all {
			wg.Go(func() {
				_, err := within(ctx, statusLimit, func(ctx context.Context) (writer.Info, error) { return p.Writer.Info(ctx) })
				s.writers.mu.Lock()
				defer s.writers.mu.Unlock()
				if err != nil && !p.state.Failed() {
					p.state, p.failure = vss.WriterUnknown, notResponding(err)
				}
			})
		}
		wg.Wait()
		return vss.OK, ctx.Err()
	}), nil
}

// WriterStatus is how each writer of the session is. Errors: VSS_E_BAD_STATE.
func (s *Session) WriterStatus() ([]catalog.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("GetWriterStatus", true, everything...); err != nil {
		return nil, err
	}
	return s.writerRecords(), nil
}

func (s *Session) writerRecords() []catalog.Writer {
	w := &s.writers
	w.mu.Lock()
	defer w.mu.Unlock()
	out := []catalog.Writer{}
	for _, p := range w.all {
		out = append(out, catalog.Writer{ID: p.Info.ID, InstanceID: p.ID, Name: p.Info.Name, State: p.state, Failure: p.failure.Code,
			Message: p.failure.Message, Application: p.failure.Application, Level: p.Info.Level, Frozen: p.frozen, Components: len(p.meta.Components)})
	}
	return out
}

// component finds a component that was included. The caller holds mu.
func (s *Session) component(op string, instance vss.WriterInstanceID, class vss.WriterID, logicalPath, name string) (*document.Component, error) {
	if w := s.backup.Writer(class, instance); w != nil {
		if c := w.Component(logicalPath, name); c != nil {
			return c, nil
		}
	}
	return nil, vss.E(op, vss.ErrObjectNotFound, errors.New("the component was not included")).On(logicalPath + `\` + name).Advise("AddComponent comes first")
}

// AddComponent includes a component. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, VSS_E_OBJECT_ALREADY_EXISTS,
// E_INVALIDARG for one that comes only with another.
func (s *Session) AddComponent(instance vss.WriterInstanceID, class vss.WriterID, t vss.ComponentType, logicalPath, name string) error {
	const op = "AddComponent"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, beforeDo...); err != nil {
		return err
	}
	switch {
	case !s.withWriters():
		return vss.E(op, vss.ErrBadState, errors.New("the context involves no writers"))
	case !s.writers.gathered:
		return vss.E(op, vss.ErrBadState, errors.New("GatherWriterMetadata comes first"))
	case s.stateSet && !s.backup.SelectComponents:
		return vss.E(op, vss.ErrBadState, errors.New("the requester isn't in component mode")).Advise("call SetBackupState with selectComponents")
	}
	i := slices.IndexFunc(s.writers.all, func(p *participant) bool { return p.ID == instance && p.Info.ID == class })
	if i < 0 {
		return vss.E(op, vss.ErrObjectNotFound, errors.New("no such writer in this session")).On(class.String())
	}
	meta := s.writers.all[i].meta
	c := meta.Component(logicalPath, name)
	if c == nil || c.Type != t {
		return vss.E(op, vss.ErrObjectNotFound, nil).On(logicalPath + `\` + name).Advise("GetWriterMetadata tells which components there are")
	}
	w := s.backup.Writer(class, instance)
	if err := meta.CheckAdd(w, c); err != nil {
		return err
	}
	if w == nil {
		w = &document.WriterComponents{WriterID: class, InstanceID: instance, InstanceName: meta.InstanceName, BackupSchema: meta.BackupSchema}
		s.backup.Writers = append(s.backup.Writers, w)
	}
	w.Components = append(w.Components, &document.Component{Type: t, LogicalPath: logicalPath, Name: name})
	return nil
}

// SetBackupSucceeded notes how the backup of a component went, between DoSnapshotSet and BackupComplete. Errors:
// VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND.
func (s *Session) SetBackupSucceeded(instance vss.WriterInstanceID, class vss.WriterID, logicalPath, name string, succeeded bool) error {
	const op = "SetBackupSucceeded"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, phaseCreated); err != nil {
		return err
	}
	c, err := s.component(op, instance, class, logicalPath, name)
	if err == nil {
		c.BackupSucceeded = succeeded
	}
	return err
}

// PrepareForBackup tells the writers what is about to come. Errors: VSS_E_BAD_STATE, also while a component is missing that
// its writer requires.
func (s *Session) PrepareForBackup() (*Async, error) {
	const op = "PrepareForBackup"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, phaseOpen); err != nil {
		return nil, err
	}
	switch {
	case !s.withWriters():
		return nil, vss.E(op, vss.ErrBadState, errors.New("the context involves no writers"))
	case !s.stateSet:
		return nil, vss.E(op, vss.ErrBadState, errors.New("SetBackupState comes first"))
	case !s.writers.gathered:
		return nil, vss.E(op, vss.ErrBadState, errors.New("GatherWriterMetadata comes first"))
	}
	for _, p := range s.writers.all {
		if missing := p.meta.Missing(s.backup.Writer(p.Info.ID, p.ID)); len(missing) > 0 {
			return nil, vss.E(op, vss.ErrBadState, fmt.Errorf("%s requires it in every backup of its data", p.Info.Name)).On(missing[0].FullName()).
				Advise("add it with AddComponent; it isn't selectable, so it comes with whatever else of its writer is backed up")
		}
	}
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		a.progress("prepare-backup", 0)
		_ = s.deliverAll(ctx, eventPrepareBackup, s.event(s.set))
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		s.phase = phasePrepared
		return vss.OK, nil
	}), nil
}

// BackupComplete tells the writers that the backup is safe. From here on the document is read-only. Errors: VSS_E_BAD_STATE.
func (s *Session) BackupComplete() (*Async, error) {
	const op = "BackupComplete"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, completeable...); err != nil {
		return nil, err
	}
	if !s.withWriters() {
		return nil, vss.E(op, vss.ErrBadState, errors.New("the context involves no writers"))
	}
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		a.progress("backup-complete", 0)
		_ = s.deliverAll(ctx, eventBackupComplete, s.event(s.set))
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if s.phase == phasePrepared { // a backup that needed no copy: the open set is given up
			s.dropOpenSet(ctx)
		}
		s.phase = phaseComplete
		return vss.OK, nil
	}), nil
}

// shutdownWriters tells every writer that took part that the requester is gone. The caller holds mu.
func (s *Session) shutdownWriters(ctx context.Context) {
	if slices.Contains(restoring, s.phase) {
		return // no shutdown is part of a restore
	}
	_ = s.deliverAll(ctx, eventBackupShutdown, s.event(s.set))
}

// abortForDead tells writers who may still be prepared or frozen for a set of a service that died.
func (k *Coordinator) abortForDead(ctx context.Context, set vss.SnapshotSetID) {
	var wg sync.WaitGroup
	for _, i := range k.Writers(ctx) {
		wg.Go(func() {
			_, err := within(ctx, abortDeadLimit, func(ctx context.Context) (struct{}, error) {
				return struct{}{}, i.Writer.Abort(ctx, &writer.Event{SetID: set})
			})
			if err != nil {
				k.Logger.Warn("writer not told that the set was dropped", "writer", i.Info.Name, "set", set, "error", err)
			}
		})
	}
	wg.Wait()
}
