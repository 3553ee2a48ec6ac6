package writerset

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// savedMetadata returns the metadata of a writer as of the backup; nil if the requester did not give them.
func (s *Set) savedMetadata(w *document.WriterComponents) *document.WriterMetadata {
	for _, m := range s.saved {
		if m.WriterID == w.WriterID && m.InstanceID == w.InstanceID {
			return m
		}
	}
	return nil
}

// receiver returns the running writer that restores a component: the instance that it was moved to, else the one that
// it came from, else the one of the same name, else the first of the class; nil if none runs.
func (s *Set) receiver(w *document.WriterComponents, c *document.Component) *participant {
	if p := s.moved[c]; p != nil {
		return p
	}
	var named, other *participant
	for _, p := range s.all {
		switch {
		case p.Info.ID != w.WriterID:
		case p.ID == w.InstanceID:
			return p
		case named == nil && p.Info.InstanceName == w.InstanceName:
			named = p
		case other == nil:
			other = p
		}
	}
	if named != nil {
		return named
	}
	return other
}

// componentsOf returns a writer's entries in the document; nil if there are none. In a restore they are those that it
// receives, whichever instance of its class they came from. The components are the document's own.
func (s *Set) componentsOf(p *participant) *document.WriterComponents {
	if !s.restoring {
		return s.doc.Writer(p.Info.ID, p.ID)
	}
	var out *document.WriterComponents
	for _, w := range s.doc.Writers {
		for _, c := range w.Components {
			if s.receiver(w, c) != p {
				continue
			}
			if out == nil {
				out = p.entry(w.BackupSchema)
			}
			out.Components = append(out.Components, c)
		}
	}
	return out
}

// restores reports whether a writer receives the events of the restore: a component that it receives is selected.
// After PreRestore, a writer that wants PostRestore only if a replacement failed does not receive it when all files
// were replaced.
func (s *Set) restores(p *participant) bool {
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
	onlyIfFails := p.meta.RestoreMethod != nil && p.meta.RestoreMethod.WriterRestore == vss.WriterRestoreIfReplaceFails
	return selected && !(p.preRestoreSent && onlyIfFails && replaced)
}

// PreRestore lets the writers of the selected components prepare. Failures are in their status. It is not cut short
// by ctx, because no event undoes one half of a restore.
func (s *Set) PreRestore(ctx context.Context, t Target) {
	_ = s.deliverAll(context.WithoutCancel(ctx), writer.OnPreRestore, t)
}

// PostRestore informs the same writers of what was restored, so that they use the files again. Failures are in their
// status. It is not cut short by ctx.
func (s *Set) PostRestore(ctx context.Context, t Target) {
	_ = s.deliverAll(context.WithoutCancel(ctx), writer.OnPostRestore, t)
}
