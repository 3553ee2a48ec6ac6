package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const recoverLimit = time.Minute // for the Abort of a session of a former process

// mark returns the path of the file that marks a session as frozen. What a script froze remains frozen if the service
// is killed, so the next process must know of it. The file contains the session, and is written before the volumes are
// held.
func (h *hook) mark(session string) string {
	return filepath.Join(h.marks, fmt.Sprintf("%s.%x.%s.frozen", h.ID.Plain(), h.InstanceName, session))
}

func (h *hook) setMark(session vss.SessionID, p payload) error {
	text, err := json.Marshal(p)
	if err == nil {
		err = os.MkdirAll(h.marks, 0o700)
	}
	if err == nil {
		err = os.WriteFile(h.mark(session.Plain()), text, 0o600)
	}
	if err != nil {
		return vss.E("Freeze", vss.ErrWriterErrorRetryable, err).
			Advise("the mark must be written before the freeze; make its folder writable")
	}
	return nil
}

func (h *hook) clearMark(session vss.SessionID) {
	if err := os.Remove(h.mark(session.Plain())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.log.Error("can't remove the mark of a frozen writer; the next start will thaw it again", "error", err)
	}
}

// recover thaws what a former process left frozen. Abort may be repeated, so a mark that stays does no harm.
func (h *hook) recover() {
	left, _ := filepath.Glob(h.mark("*")) // the pattern is well-formed
	for _, path := range left {
		var p payload
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil {
			h.log.Error("can't read the mark of a frozen writer; thawing it nevertheless", "mark", path, "error", err)
		}
		p.Event = events[writer.OnAbort]
		h.log.Warn(
			"an earlier service was killed while this writer was frozen; thawing it",
			"session",
			strings.TrimSuffix(filepath.Base(path), ".frozen"),
		)
		ctx, cancel := context.WithTimeout(context.Background(), recoverLimit)
		c, there := h.commands[writer.OnAbort]
		if there {
			_, err = h.run(ctx, c, p, maxReply, false)
		}
		cancel()
		if there && err != nil {
			h.log.Error("the writer may remain frozen: its abort failed", "error", err)
			continue
		}
		_ = os.Remove(path)
	}
}
