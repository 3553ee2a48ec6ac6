package writer

import (
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// KeepChanges copies to a writer's components what the writer may change in the handler, and nothing else: a writer can
// neither add components nor change what the requester set. From is the handler's own copy of the components. Source:
// IVssComponent, which defines the handlers that each setter may be called in.
func (h Handler) KeepChanges(to, from *document.WriterComponents) {
	if to == nil || from == nil || !h.changes() {
		return
	}
	for _, c := range to.Components {
		n := from.Component(c.LogicalPath, c.Name)
		if n == nil {
			continue
		}
		c.Failure = componentFailure(n.Failure)
		switch h {
		case OnPrepareBackup, OnPostSnapshot:
			c.BackupMetadata, c.BackupStamp = n.BackupMetadata, n.BackupStamp
			c.PartialFiles, c.DifferencedFiles = slices.Clone(n.PartialFiles), slices.Clone(n.DifferencedFiles)
			if h == OnPrepareBackup {
				c.PrepareForBackupFailure = n.PrepareForBackupFailure
			} else {
				c.PostSnapshotFailure = n.PostSnapshotFailure
			}
		case OnPreRestore:
			c.RestoreTarget, c.RestoreMetadata = n.RestoreTarget, n.RestoreMetadata
			c.PreRestoreFailure = n.PreRestoreFailure
			c.DirectedTargets = slices.Clone(n.DirectedTargets)
		case OnPostRestore:
			c.PostRestoreFailure = n.PostRestoreFailure
		}
	}
}

// changes reports whether a writer may change its components in the handler.
func (h Handler) changes() bool {
	return h == OnPrepareBackup || h == OnPostSnapshot || h == OnPreRestore || h == OnPostRestore
}

func componentFailure(f *document.ComponentFailure) *document.ComponentFailure {
	if f == nil {
		return nil
	}
	l := legalFailure(&Failure{Code: f.Code, Application: f.Application, Message: f.Message})
	return &document.ComponentFailure{Code: l.Code, Application: l.Application, Message: l.Message}
}

// begin returns the event to pass to a handler. It has a copy of the components, so that a handler that returns too
// late changes nothing.
func (e *Event) begin() *Event {
	mine := *e
	mine.Components, mine.Failure = e.Components.Clone(), nil
	return &mine
}

// end takes over what a handler changed in its copy of the event, and returns its error in the form that the
// coordinator receives.
func (e *Event) end(h Handler, mine *Event, err error, also ...vss.Code) error {
	e.Failure = legalFailure(mine.Failure)
	h.KeepChanges(e.Components, mine.Components)
	return legal(h.String(), err, e.Failure, also...)
}
