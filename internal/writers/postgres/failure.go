package postgres

import (
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// goOn says whether clusters are left that the copy can be good for. Where none is, or the requester isn't in component mode,
// so that it can't be told which one failed, what failed is the writer's status from now on. Otherwise PostSnapshot tells:
// until then a failed status would keep the writer from the others' events.
func (w *Writer) goOn(e *writer.Event, op string, s *session, left int) bool {
	err := s.failures()
	if err == nil {
		return true
	}
	s.mu.Lock()
	partial := !s.all && left > 0
	s.mu.Unlock()
	if partial {
		w.log.Warn(op+" failed for some clusters", "session", e.Session, "error", err)
		return true
	}
	s.release()
	w.veto(e, op, err)
	return false
}

// blame notes with each component that failed why, and says whether there are such. Source: IVssComponentEx2::SetFailure.
func (w *Writer) blame(e *writer.Event, s *session, text func(*document.Component) *string) bool {
	failed := false
	for _, c := range e.Components.Components {
		err := s.failure(c.Name)
		if err == nil {
			continue
		}
		code, message := told(err)
		c.Failure = &document.ComponentFailure{Code: code, Message: message}
		*text(c) = message
		failed = true
	}
	return failed
}

// told is a failure as a requester gets it.
func told(err error) (code vss.Code, message string) {
	code, message = vss.CodeOf(err), err.Error()
	if !vss.IsWriterError(code) {
		code = vss.ErrWriterErrorNonRetryable
	}
	if hint := vss.Hint(err); hint != "" {
		message += " (" + hint + ")"
	}
	return code, message
}

// veto makes a failure the writer's status: the requester decides whether the copy is worth having without this writer.
func (w *Writer) veto(e *writer.Event, op string, err error) {
	code, message := told(err)
	w.log.Error(op+" failed", "session", e.Session, "error", err)
	e.SetFailure(code, message)
}
