package testwriter

import (
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// line is one line of the record.
type line struct {
	Time       time.Time             `json:"time"`
	Writer     string                `json:"writer"`
	At         string                `json:"at"`    // "begin" and "end" of a handler, "complaint", "ready"
	Event      string                `json:"event"` // as in the configuration
	Session    string                `json:"session,omitempty"`
	SetID      string                `json:"set_id,omitempty"`
	Volumes    []string              `json:"volumes,omitempty"`
	Devices    map[string]string     `json:"devices,omitempty"`
	Writable   bool                  `json:"writable,omitempty"`
	Context    string                `json:"context,omitempty"`
	BackupType string                `json:"backup_type,omitempty"`
	Partial    bool                  `json:"partial,omitempty"`
	Bootable   bool                  `json:"bootable,omitempty"`
	Components []*document.Component `json:"components,omitempty"`
	Did        string                `json:"did,omitempty"` // the fault, if there is one
	Error      string                `json:"error,omitempty"`
	Complaint  string                `json:"complaint,omitempty"` // a violation of VSS's rules by the requester
	Socket     string                `json:"socket,omitempty"`
}

// record writes the lines in the order of the events.
type record struct {
	writer     string
	complaints atomic.Int64

	mu  sync.Mutex
	out *json.Encoder
}

func newRecord(name string, out io.Writer) *record {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return &record{writer: name, out: e}
}

// line writes a line. Errors are ignored, because they must not change the behaviour of the writer.
func (r *record) line(l line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.Time, l.Writer = time.Now(), r.writer
	if l.At == "" {
		l.At = "begin"
	}
	_ = r.out.Encode(l)
}

// complain writes a complaint.
func (r *record) complain(event string, session vss.SessionID, what string) {
	r.complaints.Add(1)
	r.line(line{At: "complaint", Event: event, Session: session.String(), Complaint: what})
}

// describe returns the line of an event.
func describe(h writer.Handler, e *writer.Event) line {
	l := line{
		Event: eventName(h), Session: e.Session.String(), Volumes: e.Volumes, Devices: e.Devices, Writable: e.Writable,
		Context: e.Context.ContextName(), BackupType: e.BackupType.String(), Partial: e.Partial, Bootable: e.Bootable,
	}
	if !e.SetID.IsZero() {
		l.SetID = e.SetID.String()
	}
	if c := e.Components.Clone(); c != nil {
		l.Components = c.Components
	}
	return l
}
