package postgres

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/writer"
)

func (w *Writer) PreRestore(ctx context.Context, e *writer.Event) error  { return nil }
func (w *Writer) PostRestore(ctx context.Context, e *writer.Event) error { return nil }
