package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// restore is what a session that restores keeps beside the document.
type restore struct {
	saved []*document.WriterMetadata           // the writers' metadata as of the backup
	moved map[*document.Component]*participant // components that go to another instance than they came from
}

func (s *Session) isRestore() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(restoring, s.phase)
}

// InitializeForRestore is the first call of a restore: the document is what the backup saved. The metadata that were saved
// with it may be given, too; what is asked for is then checked against them. Errors: VSS_E_BAD_STATE,
// VSS_E_INVALID_XML_DOCUMENT.
func (s *Session) InitializeForRestore(doc []byte, metadata [][]byte) error {
	const op = "InitializeForRestore"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, phaseNew); err != nil {
		return err
	}
	bad := func(what string, err error) error {
		return vss.E(op, vss.ErrInvalidXMLDocument, err).On(what).Advise("give the documents that the backup saved, untouched")
	}
	d, err := document.Parse(doc)
	if err != nil {
		return bad("Backup Components Document", err)
	}
	r := restore{moved: map[*document.Component]*participant{}}
	for _, text := range metadata {
		m, err := document.ParseMetadata(text)
		if err != nil {
			return bad("Writer Metadata Document", err)
		}
		r.saved = append(r.saved, m)
	}
	s.backup, s.restore, s.phase = d, r, phaseRestore
	return nil
}

// SetRestoreState notes the kind of the restore; without it, it is by copy. Errors: VSS_E_BAD_STATE, E_INVALIDARG.
func (s *Session) SetRestoreState(t vss.RestoreType) error {
	const op = "SetRestoreState"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, phaseRestore); err != nil {
		return err
	}
	if t < vss.RestoreTypeUndefined || t > vss.RestoreOther {
		return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("restore type %d", t))
	}
	s.backup.RestoreType = t
	return nil
}

// savedMetadata is what the writer of these components said of itself at the backup; nil where the requester didn't give it.
func (r *restore) savedMetadata(w *document.WriterComponents) *document.WriterMetadata {
	for _, m := range r.saved {
		if m.WriterID == w.WriterID && m.InstanceID == w.InstanceID {
			return m
		}
	}
	return nil
}

// receiver is the running writer that a component is restored by: the instance that it was moved to, else the one it came
// from, else the one of the same name, else the first of the class; nil when none runs.
func (s *Session) receiver(w *document.WriterComponents, c *document.Component) *participant {
	if p := s.restore.moved[c]; p != nil {
		return p
	}
	var named, first *participant
	for _, p := range s.writers.all {
		switch {
		case p.Info.ID != w.WriterID:
		case p.ID == w.InstanceID:
			return p
		case named == nil && p.Info.InstanceName == w.InstanceName:
			named = p
		case first == nil:
			first = p
		}
	}
	if named != nil {
		return named
	}
	return first
}

// componentsOf are a writer's entries in the document. In a restore they are those that it receives, whatever instance of its
// class they came from; the components themselves are the document's. Nil if there are none.
func (s *Session) componentsOf(p *participant) *document.WriterComponents {
	if !slices.Contains(restoring, s.phase) {
		return s.backup.Writer(p.Info.ID, p.ID)
	}
	var out *document.WriterComponents
	for _, w := range s.backup.Writers {
		for _, c := range w.Components {
			if s.receiver(w, c) != p {
				continue
			}
			if out == nil {
				out = &document.WriterComponents{WriterID: p.Info.ID, InstanceID: p.ID, InstanceName: p.Info.InstanceName, BackupSchema: w.BackupSchema}
			}
			out.Components = append(out.Components, c)
		}
	}
	return out
}

// restores says whether a writer hears of this restore: it receives a component that is selected. After PreRestore also
// whether it still has to: a writer that wants PostRestore only if a replacement failed doesn't when all went well.
func (s *Session) restores(p *participant) bool {
	w := s.componentsOf(p)
	if w == nil {
		return false
	}
	selected, replaced := false, true
	for _, c := range w.Components {
		if c.SelectedForRestore {
			selected = true
			replaced = replaced && c.FileRestoreStatus == vss.RestoredAll && len(c.AlternateLocations) == 0
		}
	}
	lenient := p.meta.RestoreMethod != nil && p.meta.RestoreMethod.WriterRestore == vss.WriterRestoreIfReplaceFails
	return selected && !(p.primed && lenient && replaced)
}

// keepRestored takes over what a writer may change: in PreRestore its targets, its note to itself and its failure, in
// PostRestore its failure only. Source: IVssComponent.
func keepRestored(kind eventKind, to, from *document.WriterComponents) {
	if to == nil || from == nil {
		return
	}
	for _, c := range to.Components {
		n := from.Component(c.LogicalPath, c.Name)
		if n == nil {
			continue
		}
		c.Failure = n.Failure
		if kind == eventPostRestore {
			c.PostRestoreFailure = n.PostRestoreFailure
			continue
		}
		c.RestoreTarget, c.RestoreMetadata, c.PreRestoreFailure, c.DirectedTargets = n.RestoreTarget, n.RestoreMetadata, n.PreRestoreFailure, n.DirectedTargets
	}
}

// PreRestore has the writers of the selected components get ready; a failure of one is in its status. Errors: VSS_E_BAD_STATE.
func (s *Session) PreRestore() (*Async, error) {
	const op = "PreRestore"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, phaseRestore); err != nil {
		return nil, err
	}
	if !s.writers.gathered {
		return nil, vss.E(op, vss.ErrBadState, errors.New("GatherWriterMetadata comes first"))
	}
	return s.restoreEvent("pre-restore", eventPreRestore, phasePreRestored), nil
}

// PostRestore tells the same writers what became of their files. It goes on when its client doesn't: a database must not be
// left half started. Errors: VSS_E_BAD_STATE.
func (s *Session) PostRestore() (*Async, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("PostRestore", true, phasePreRestored); err != nil {
		return nil, err
	}
	return s.restoreEvent("post-restore", eventPostRestore, phasePostRestored), nil
}

// restoreEvent sends an event of a restore, whole once it has begun: there is no event that would undo half of it.
func (s *Session) restoreEvent(step string, kind eventKind, to phase) *Async {
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		a.progress(step, 0)
		_ = s.deliverAll(context.WithoutCancel(ctx), kind, s.event(nil)) // a failure here is in the writer's status
		s.mu.Lock()
		defer s.mu.Unlock()
		s.phase = to
		return vss.OK, nil
	})
}
