package writer

import "context"

// Base is for embedding in a writer: the handlers that a writer may leave out, doing nothing. PrepareSnapshot, Freeze, Thaw and
// Abort are not among them: who has nothing to do there is no writer. Source: CVssWriter, virtual and pure handlers.
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
