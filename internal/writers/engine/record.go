package engine

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Backup metadata come back in a document that anybody may have written. So this process keeps records of what decides
// about executing, moving and stopping in a restore: one file for each server and arrangement of its files, named by
// the digest of its content. Backups of an unchanged server share a file.

// keep records an instance of a backup.
func (w *Writer) keep(metadata string) error {
	if w.Records == "" {
		return nil
	}
	s, err := w.engine.Recall(metadata)
	if err != nil {
		return err
	}
	text, err := json.Marshal(s.Decisive())
	if err != nil {
		return err
	}
	return w.record(text, text)
}

// record stores text as the record of a backup with this decisive part.
func (w *Writer) record(decisive, text []byte) error {
	path := w.recordOf(decisive)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, text)
}

func (w *Writer) recordOf(decisive []byte) string {
	return filepath.Join(w.Records, w.info.ID.Plain(), fmt.Sprintf("%x.json", sha256.Sum256(decisive)))
}

// recall reads an instance from backup metadata, and replaces what decides about it by this host's record of the
// backup, or by what the running instance has. Errors: VSS_E_WRITERERROR_NONRETRYABLE if there is neither.
func (w *Writer) recall(ctx context.Context, metadata string) (Saved, error) {
	s, err := w.engine.Recall(metadata)
	if err != nil {
		return nil, err
	}
	decisive, err := json.Marshal(s.Decisive())
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(w.recordOf(decisive))
	switch {
	case err == nil && w.Records != "":
		return s, s.Decide(text)
	case w.Records != "" && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if err := s.Adopt(ctx); err != nil {
		return nil, vss.E("PreRestore", vss.ErrWriterErrorNonRetryable,
			fmt.Errorf("this host has no record of the backup, and no such instance runs: %w", err)).
			Advise("start the server here first, with its files in the same folders, so that the restore knows its " +
				"program and its account; or restore the files without the writer (--ignore-writers)")
	}
	if w.Records == "" {
		return s, nil
	}
	text, err = json.Marshal(s.Decisive())
	if err == nil {
		err = w.record(decisive, text) // for the backups that are restored on top of this one
	}
	return s, err
}
