package writer

import (
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// keepChanges takes over from a handler's copy of the components what a writer may change in that event, and nothing else: a
// writer can neither add components nor touch what is the requester's. Source: IVssComponent; which setter is for when.
func keepChanges(h Handler, to, from *document.WriterComponents) {
	if to == nil || from == nil || !changes(h) {
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
			c.RestoreTarget, c.RestoreMetadata, c.PreRestoreFailure = n.RestoreTarget, n.RestoreMetadata, n.PreRestoreFailure
			c.DirectedTargets = slices.Clone(n.DirectedTargets)
		case OnPostRestore:
			c.PostRestoreFailure = n.PostRestoreFailure
		}
	}
}

// changes says whether a writer may change anything of its components in the event.
func changes(h Handler) bool {
	return h == OnPrepareBackup || h == OnPostSnapshot || h == OnPreRestore || h == OnPostRestore
}

func componentFailure(f *document.ComponentFailure) *document.ComponentFailure {
	if f == nil {
		return nil
	}
	l := legalFailure(&Failure{Code: f.Code, Application: f.Application, Message: f.Message})
	return &document.ComponentFailure{Code: l.Code, Application: l.Application, Message: l.Message}
}

// begin is the event as a handler gets it: with a copy of the components, so that one who answers too late changes nothing.
func (e *Event) begin() *Event {
	mine := *e
	mine.Components, mine.Failure = e.Components.Clone(), nil
	return &mine
}

// end takes over what a handler noted in its copy, and gives its error as the coordinator is told it.
func (e *Event) end(h Handler, mine *Event, err error, also ...vss.Code) error {
	e.Failure = legalFailure(mine.Failure)
	keepChanges(h, e.Components, mine.Components)
	return legal(h.String(), err, e.Failure, also...)
}
