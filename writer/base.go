package writer

import "context"

// Base implements the handlers that a writer may omit; they do nothing. Embed it. PrepareSnapshot, Freeze, Thaw and
// Abort are not among them: every writer must implement these. Source: CVssWriter, virtual and pure handlers.
type Base struct{}

// PrepareBackup implements Writer.
func (Base) PrepareBackup(context.Context, *Event) error { return nil }

// PostSnapshot implements Writer.
func (Base) PostSnapshot(context.Context, *Event) error { return nil }

// BackupComplete implements Writer.
func (Base) BackupComplete(context.Context, *Event) error { return nil }

// BackupShutdown implements Writer.
func (Base) BackupShutdown(context.Context, *Event) error { return nil }

// PreRestore implements Writer.
func (Base) PreRestore(context.Context, *Event) error { return nil }

// PostRestore implements Writer.
func (Base) PostRestore(context.Context, *Event) error { return nil }
