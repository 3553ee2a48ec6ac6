// Package writer defines the interface of writers. A writer is the part of an application that makes the
// application's data consistent for a shadow copy. It implements Writer and is served at a socket by Serve, or runs
// in the service's process; the service uses it through the same interface either way. Package writertest tests a
// writer.
//
// In a backup session a writer receives PrepareBackup, PrepareSnapshot, Freeze, Thaw, PostSnapshot, BackupComplete and
// BackupShutdown, in this order; Abort may come in place of the rest. Freeze is always followed by Thaw or Abort.
// Source: writer's reference, overview of processing a backup under VSS.
package writer

import (
	"context"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// DefaultFreezeTimeout is the longest time from Freeze to Thaw; a writer may ask for less. Source: Initialize.
const DefaultFreezeTimeout = 60 * time.Second

// Info is the identity of a writer (CVssWriter::Initialize).
type Info struct {
	ID            vss.WriterID // the class; it never changes
	Name          string
	InstanceName  string // permanent, and unique on the host if the class has several instances
	Usage         vss.UsageType
	Source        vss.SourceType
	Level         vss.ApplicationLevel
	FreezeTimeout time.Duration // at most DefaultFreezeTimeout, which 0 stands for
}

// Event is the argument of a handler. It is valid only while the handler runs.
type Event struct {
	Session    vss.SessionID
	SetID      vss.SnapshotSetID // from PrepareSnapshot on
	Volumes    []string          // the originals of the set, from PrepareSnapshot on
	Devices    map[string]string // original volume -> device of its copy, PostSnapshot only
	Writable   bool              // PostSnapshot: the copies may be written (auto-recovery)
	Context    vss.Context
	BackupType vss.BackupType
	// RestoreType is the kind of a restore; undefined is by copy.
	RestoreType vss.RestoreType
	Partial     bool // the requester can take partial files
	Bootable    bool // system state is backed up
	// Components are this writer's entries in the Backup Components Document; nil if the requester is not in component
	// mode. See Handler.KeepChanges for the changes of a handler that are kept.
	Components *document.WriterComponents
	// Failure is set by a handler to report a failure that the requester may ignore (SetWriterFailure), with one of the
	// VSS_E_WRITERERROR codes. An error that Freeze or Thaw returns fails the set instead.
	Failure *Failure
}

// Failure describes why a writer failed (SetWriterFailureEx).
type Failure struct {
	Code        vss.Code // one of VSS_E_WRITERERROR_*, or S_OK
	Application uint32   // a code of the application
	Message     string   // for people
}

// SetFailure sets a failure that does not fail the set by itself.
func (e *Event) SetFailure(code vss.Code, message string) {
	e.Failure = &Failure{Code: code, Message: message}
}

// Writer is the interface of a writer. A handler may be called for one session while one of another session is running.
// Abort and Thaw may be called more than once. An error that Freeze or Thaw returns fails the shadow copy set.
type Writer interface {
	// Info returns the identity of the writer. It must be fast, and may be called at any time.
	Info(ctx context.Context) (Info, error)
	// Identify describes the writer's components. It may be called at any time, also during a session, and must not
	// change anything.
	Identify(ctx context.Context) (*document.WriterMetadata, error)
	// PrepareBackup announces a backup: the writer examines its type and components, and starts long work.
	PrepareBackup(ctx context.Context, e *Event) error
	// PrepareSnapshot does all slow work, such as checkpoints, before the freeze. If the event's volumes do not
	// include all that the data need, the failure is VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT.
	PrepareSnapshot(ctx context.Context, e *Event) error
	// Freeze stops writing. It must be fast.
	Freeze(ctx context.Context, e *Event) error
	// Thaw undoes Freeze.
	Thaw(ctx context.Context, e *Event) error
	// PostSnapshot recovers the data in the copy, deletes excluded files there, and sets the backup stamps of
	// components.
	PostSnapshot(ctx context.Context, e *Event) error
	// BackupComplete reports that the requester has its backup. Only here may logs be truncated.
	BackupComplete(ctx context.Context, e *Event) error
	// BackupShutdown reports that the requester ended its session, or died.
	BackupShutdown(ctx context.Context, e *Event) error
	// Abort undoes Freeze and PrepareSnapshot.
	Abort(ctx context.Context, e *Event) error
	// PreRestore stops the use of the files.
	PreRestore(ctx context.Context, e *Event) error
	// PostRestore recovers the restored data and uses them again.
	PostRestore(ctx context.Context, e *Event) error
}
