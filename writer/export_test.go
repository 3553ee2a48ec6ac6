package writer

import "github.com/stillpoint-vss/stillpoint/vss"

// StateOf is the state of a session; unknown when the session is forgotten.
func StateOf(w *Watched, id vss.SessionID) vss.WriterState {
	w.mu.Lock()
	s := w.sessions[id]
	w.mu.Unlock()
	if s == nil {
		return vss.WriterUnknown
	}
	return s.now()
}
