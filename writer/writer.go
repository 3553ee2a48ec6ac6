// Package writer is for those who write writers: the parts of an application that vouch for its data in a shadow copy. A
// writer implements Writer, in process or behind Serve; the coordinator holds it by the same interface either way.
// Run writertest against it.
//
// In a backup session a writer sees PrepareBackup, PrepareSnapshot, Freeze, Thaw, PostSnapshot, BackupComplete and
// BackupShutdown, or Abort in place of the rest. Whoever was told Freeze is told Thaw or Abort, always.
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

// Info is who a writer is (CVssWriter::Initialize).
type Info struct {
	ID            vss.WriterID // the class, for ever
	Name          string
	InstanceName  string // lasting and unique on the host where the class has several instances
	Usage         vss.UsageType
	Source        vss.SourceType
	Level         vss.ApplicationLevel
	FreezeTimeout time.Duration // 0: DefaultFreezeTimeout; never more
}

// Event is what a handler is told. It is valid only while the handler runs.
type Event struct {
	Session    vss.SessionID
	SetID      vss.SnapshotSetID // from PrepareSnapshot on
	Volumes    []string          // the originals of the set, from PrepareSnapshot on
	Devices    map[string]string // original volume -> device of its copy, PostSnapshot only
	Writable   bool              // PostSnapshot: the copies may be written (auto-recovery)
	Context    vss.Context
	BackupType vss.BackupType
	Partial    bool // the requester can take partial files
	Bootable   bool // system state is backed up
	// Components are this writer's entries in the Backup Components Document; nil when the requester isn't in component
	// mode. Changes made in PrepareBackup, PostSnapshot and PreRestore are kept.
	Components *document.WriterComponents
	// Failure, when set by the handler, is a veto that the requester may ignore (SetWriterFailure): one of the
	// VSS_E_WRITERERROR_ codes. Returning an error is fatal instead.
	Failure *Failure
}

// Failure is a writer's own account of what went wrong (SetWriterFailureEx).
type Failure struct {
	Code        vss.Code // one of VSS_E_WRITERERROR_*, or S_OK
	Application uint32   // the application's own code
	Message     string   // for people
}

// SetFailure records a failure that doesn't by itself fail the set. Not in Identify.
func (e *Event) SetFailure(code vss.Code, message string) {
	e.Failure = &Failure{Code: code, Message: message}
}

// Writer is the interface of a writer. Every handler may be called again for another session while one is under way;
// Abort and Thaw must bear repetition. An error returned by Freeze or Thaw fails the whole set.
type Writer interface {
	// Info tells who the writer is. Cheap; may be asked at any time.
	Info(ctx context.Context) (Info, error)
	// Identify describes the writer's components. It may come at any time, also inside a session, and changes nothing.
	Identify(ctx context.Context) (*document.WriterMetadata, error)
	// PrepareBackup: look at type and components, start long work.
	PrepareBackup(ctx context.Context, e *Event) error
	// PrepareSnapshot: all heavy work, checkpoints; the last slow moment. Missing volumes: VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT.
	PrepareSnapshot(ctx context.Context, e *Event) error
	// Freeze: stop writing. Short.
	Freeze(ctx context.Context, e *Event) error
	// Thaw: undo Freeze.
	Thaw(ctx context.Context, e *Event) error
	// PostSnapshot: recover data in the copy, delete excluded files there, stamp components.
	PostSnapshot(ctx context.Context, e *Event) error
	// BackupComplete: the requester has its backup; the only place to truncate logs.
	BackupComplete(ctx context.Context, e *Event) error
	// BackupShutdown: the requester is gone, by will or by crash.
	BackupShutdown(ctx context.Context, e *Event) error
	// Abort: undo Freeze and PrepareSnapshot.
	Abort(ctx context.Context, e *Event) error
	// PreRestore: stop using the files.
	PreRestore(ctx context.Context, e *Event) error
	// PostRestore: recover and start again.
	PostRestore(ctx context.Context, e *Event) error
}
