package writerset

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// Target is what the events of a backup are about: the context, and the shadow copy set from StartSnapshotSet on. In a
// context without writers nothing is sent.
type Target struct {
	Context  vss.Context
	Set      vss.SnapshotSetID
	Volumes  []string          // the originals of the set
	Devices  map[string]string // PostSnapshot only: the device of each original's copy
	Writable bool              // PostSnapshot only: the copies may be written
}

func (t *Target) withWriters() bool { return !t.Context.Has(vss.AttrNoWriters) }

// levels are the application levels in the order of Freeze; Thaw has the reverse order.
var levels = []vss.ApplicationLevel{vss.LevelFrontEnd, vss.LevelBackEnd, vss.LevelSystem}

// levelOf returns the level of a writer. An undefined one is the default, front end.
func levelOf(p *participant) vss.ApplicationLevel {
	if l := p.Info.Level; l == vss.LevelBackEnd || l == vss.LevelSystem {
		return l
	}
	return vss.LevelFrontEnd
}

// PrepareBackup announces the backup to the writers. Failures are in their status.
func (s *Set) PrepareBackup(ctx context.Context, t Target) {
	if t.withWriters() {
		_ = s.deliverAll(ctx, writer.OnPrepareBackup, t)
	}
}

// PrepareSnapshot lets the writers do their slow work before the freeze. Failures are in their status; only that of a
// required writer is returned.
func (s *Set) PrepareSnapshot(ctx context.Context, t Target) error {
	if !t.withWriters() {
		return nil
	}
	_ = s.deliverAll(ctx, writer.OnPrepareSnapshot, t)
	return s.checkRequiredWriters()
}

// Freeze stops the writers, level after level. It returns the first error of a handler, and that of a required writer
// that failed or of one whose window has expired already.
func (s *Set) Freeze(ctx context.Context, t Target) error {
	if !t.withWriters() {
		return nil
	}
	s.mu.Lock()
	s.frozenAt = time.Now()
	s.mu.Unlock()
	for _, l := range levels {
		err := s.deliver(ctx, writer.OnFreeze, t, func(p *participant) bool { return levelOf(p) == l })
		if err != nil {
			return cmp.Or(s.checkRequiredWriters(), err)
		}
	}
	return cmp.Or(s.checkRequiredWriters(), s.checkWindows())
}

// checkWindows returns an error if the window of a frozen writer has expired: that writer has already thawed itself.
func (s *Set) checkWindows() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		if p.froze && p.freezeSent && time.Since(p.freezeAt) > p.window() {
			expired := vss.E("Freeze", vss.ErrWriterErrorTimeout,
				fmt.Errorf("the writer was frozen for more than %v before the copies were made", p.window()))
			return vss.E("Freeze", vss.ErrUnexpectedWriterError, expired).On(p.Info.Name).
				Advise("another writer or a provider was slow: see the timeline; " +
					"wait ten minutes and try again, at most three times")
		}
	}
	return nil
}

// Thaw lets the writers continue, level after level in reverse order. Writers that failed Freeze receive Abort. It
// returns the first error of a handler or of a required writer. It is not cut short by ctx.
func (s *Set) Thaw(ctx context.Context, t Target) error {
	if !t.withWriters() {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := s.unfreeze(ctx, writer.OnThaw, t)
	_ = s.deliver(ctx, writer.OnAbort, t, func(p *participant) bool { return p.freezeSent })
	s.mu.Lock()
	s.thawedAt = time.Now()
	s.mu.Unlock()
	return cmp.Or(s.checkRequiredWriters(), err)
}

// Abort informs the writers that the set is not created. Frozen ones receive it in the order of Thaw.
func (s *Set) Abort(ctx context.Context, t Target) {
	if !t.withWriters() {
		return
	}
	_ = s.unfreeze(ctx, writer.OnAbort, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.thawedAt.IsZero() {
		s.thawedAt = time.Now()
	}
}

// unfreeze sends Thaw or Abort, level after level in the reverse order of Freeze. A level delays the next one for
// thawPatience at most, and a writer that is known not to respond delays none, so that no writer stays frozen because
// of another. It returns the first error of a handler when all have answered or are out of time.
func (s *Set) unfreeze(ctx context.Context, h writer.Handler, t Target) error {
	silent := map[*participant]bool{}
	s.mu.Lock()
	for _, p := range s.all {
		silent[p] = !responds(p)
	}
	s.mu.Unlock()
	errs := make([]error, len(levels)+1)
	var all sync.WaitGroup
	send := func(i int, chosen func(*participant) bool) <-chan struct{} {
		answered := make(chan struct{})
		all.Go(func() {
			defer close(answered)
			errs[i] = s.deliver(ctx, h, t, chosen)
		})
		return answered
	}
	send(len(levels), func(p *participant) bool { return silent[p] })
	for i := len(levels) - 1; i >= 0; i-- {
		answered := send(i, func(p *participant) bool { return !silent[p] && levelOf(p) == levels[i] })
		select {
		case <-answered:
		case <-time.After(thawPatience):
		}
	}
	all.Wait()
	return first(errs)
}

// Window returns the time from the first Freeze to the last answer to Thaw; 0 if no writer was frozen.
func (s *Set) Window() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozenAt.IsZero() || s.thawedAt.IsZero() {
		return 0
	}
	return s.thawedAt.Sub(s.frozenAt)
}

// PostSnapshot lets the writers change their data in the copies. Failures are in their status; only that of a required
// writer is returned.
func (s *Set) PostSnapshot(ctx context.Context, t Target) error {
	if !t.withWriters() {
		return nil
	}
	_ = s.deliverAll(ctx, writer.OnPostSnapshot, t)
	return s.checkRequiredWriters()
}

// BackupComplete informs the writers that the backup is safe. Failures are in their status.
func (s *Set) BackupComplete(ctx context.Context, t Target) {
	if t.withWriters() {
		_ = s.deliverAll(ctx, writer.OnBackupComplete, t)
	}
}

// Shutdown informs every writer that received an event of a backup that the requester has left. A restore has no such
// event.
func (s *Set) Shutdown(ctx context.Context, t Target) {
	if !s.restoring && t.withWriters() {
		_ = s.deliverAll(ctx, writer.OnBackupShutdown, t)
	}
}

// WantsRecovery reports whether a writer that takes part recovers data, or deletes files, in the copies.
func (s *Set) WantsRecovery(t Target) bool {
	if !t.withWriters() {
		return false
	}
	flags := vss.ComponentBackupRecovery
	if t.Context.Has(vss.AttrRollbackRecovery) {
		flags |= vss.ComponentAppRollbackRecovery
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
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

// included returns the writer's components that the backup includes, explicitly or with another one.
func (s *Set) included(p *participant) []*document.WMComponent {
	if s.doc.SelectComponents {
		if w := s.doc.Writer(p.Info.ID, p.ID); w != nil {
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
