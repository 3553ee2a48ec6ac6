package writer

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Handler names a handler of a Writer that receives an Event: all methods but Info and Identify.
type Handler int

// The handlers, in the order of a backup and then of a restore.
const (
	OnPrepareBackup Handler = iota
	OnPrepareSnapshot
	OnFreeze
	OnThaw
	OnPostSnapshot
	OnBackupComplete
	OnBackupShutdown
	OnAbort
	OnPreRestore
	OnPostRestore
	handlerCount
)

var handlers = [handlerCount]struct {
	name   string
	failed vss.WriterState // the state after it failed; WriterUnknown if the state stays
	call   func(Writer, context.Context, *Event) error
}{
	{"PrepareBackup", vss.WriterFailedAtPrepareBackup, Writer.PrepareBackup},
	{"PrepareSnapshot", vss.WriterFailedAtPrepareSnapshot, Writer.PrepareSnapshot},
	{"Freeze", vss.WriterFailedAtFreeze, Writer.Freeze},
	{"Thaw", vss.WriterFailedAtThaw, Writer.Thaw},
	{"PostSnapshot", vss.WriterFailedAtPostSnapshot, Writer.PostSnapshot},
	{"BackupComplete", vss.WriterFailedAtBackupComplete, Writer.BackupComplete},
	{"BackupShutdown", vss.WriterFailedAtBackupShutdown, Writer.BackupShutdown},
	{"Abort", vss.WriterUnknown, Writer.Abort},
	{"PreRestore", vss.WriterFailedAtPreRestore, Writer.PreRestore},
	{"PostRestore", vss.WriterFailedAtPostRestore, Writer.PostRestore},
}

// Handlers returns all handlers, in their order.
func Handlers() []Handler {
	all := make([]Handler, handlerCount)
	for i := range all {
		all[i] = Handler(i)
	}
	return all
}

// String returns the name of the handler's method.
func (h Handler) String() string { return handlers[h].name }

// Failed returns the state of a writer that failed in the handler; WriterUnknown for Abort, which has no such state.
func (h Handler) Failed() vss.WriterState { return handlers[h].failed }

// Call calls the handler of a writer.
func (h Handler) Call(ctx context.Context, w Writer, e *Event) error {
	return handlers[h].call(w, ctx, e)
}

// HandlerFunc handles all events of a writer. Embed it in a writer that treats them alike.
type HandlerFunc func(ctx context.Context, h Handler, e *Event) error

// PrepareBackup implements Writer.
func (f HandlerFunc) PrepareBackup(ctx context.Context, e *Event) error {
	return f(ctx, OnPrepareBackup, e)
}

// PrepareSnapshot implements Writer.
func (f HandlerFunc) PrepareSnapshot(ctx context.Context, e *Event) error {
	return f(ctx, OnPrepareSnapshot, e)
}

// Freeze implements Writer.
func (f HandlerFunc) Freeze(ctx context.Context, e *Event) error { return f(ctx, OnFreeze, e) }

// Thaw implements Writer.
func (f HandlerFunc) Thaw(ctx context.Context, e *Event) error { return f(ctx, OnThaw, e) }

// PostSnapshot implements Writer.
func (f HandlerFunc) PostSnapshot(ctx context.Context, e *Event) error {
	return f(ctx, OnPostSnapshot, e)
}

// BackupComplete implements Writer.
func (f HandlerFunc) BackupComplete(ctx context.Context, e *Event) error {
	return f(ctx, OnBackupComplete, e)
}

// BackupShutdown implements Writer.
func (f HandlerFunc) BackupShutdown(ctx context.Context, e *Event) error {
	return f(ctx, OnBackupShutdown, e)
}

// Abort implements Writer.
func (f HandlerFunc) Abort(ctx context.Context, e *Event) error { return f(ctx, OnAbort, e) }

// PreRestore implements Writer.
func (f HandlerFunc) PreRestore(ctx context.Context, e *Event) error { return f(ctx, OnPreRestore, e) }

// PostRestore implements Writer.
func (f HandlerFunc) PostRestore(ctx context.Context, e *Event) error {
	return f(ctx, OnPostRestore, e)
}
