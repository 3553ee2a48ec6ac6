package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const (
	maxIdentify = 16 << 20 // bytes that identify may print
	maxReply    = 1 << 20  // bytes that other executables may print
)

// events are the names of the executables.
var events = map[writer.Handler]string{
	writer.OnPrepareBackup: "prepare-backup", writer.OnPrepareSnapshot: "prepare-snapshot", writer.OnFreeze: "freeze",
	writer.OnThaw:         "thaw",
	writer.OnPostSnapshot: "post-snapshot", writer.OnBackupComplete: "backup-complete",
	writer.OnBackupShutdown: "backup-shutdown",
	writer.OnAbort:          "abort", writer.OnPreRestore: "pre-restore", writer.OnPostRestore: "post-restore",
}

// hook is a writer made of executables. Its only state between events are the marks of frozen sessions.
type hook struct {
	writer.HandlerFunc // handle
	settings
	folder   string
	marks    string // folder of the marks
	log      *slog.Logger
	identify string // path of identify, "" for none
	commands map[writer.Handler]command
}

var _ writer.Writer = (*hook)(nil)

// Info implements writer.Writer.
func (h *hook) Info(context.Context) (writer.Info, error) {
	return writer.Info{
		ID: vss.WriterID{
			GUID: h.ID,
		}, Name: h.Name, InstanceName: h.InstanceName, Usage: h.usage, Source: h.source, Level: h.level,
		FreezeTimeout: h.limit,
	}, nil
}

// Identify implements writer.Writer.
func (h *hook) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	if h.identify == "" {
		return &document.WriterMetadata{Components: []document.WMComponent{h.fileGroup()}}, nil
	}
	out, err := h.run(ctx, command{h.identify, nil}, payload{Event: "identify"}, maxIdentify, true)
	if err != nil {
		return nil, err
	}
	m, err := parseIdentify(out)
	if err != nil {
		return nil, vss.E("Identify", vss.ErrWriterErrorNonRetryable, err).
			On(h.identify).
			Advise("make identify print the component tree as JSON, and nothing else")
	}
	return m, nil
}

// fileGroup returns the component of a writer without identify: the paths of writer.toml, or only its name.
func (h *hook) fileGroup() document.WMComponent {
	c := document.WMComponent{Type: vss.ComponentFileGroup, Name: h.Name}
	for _, p := range h.Paths {
		set := document.FileSet{Path: p, FileSpec: "*", Recursive: true, Mask: vss.DefaultFileSpecBackupType}
		if info, err := os.Stat(p); err == nil && !info.IsDir() {
			set.Path, set.FileSpec, set.Recursive = filepath.Dir(p), filepath.Base(p), false
		}
		c.Files = append(c.Files, set)
	}
	return c
}

// parseIdentify decodes the output of identify.
func parseIdentify(out []byte) (*document.WriterMetadata, error) {
	m := &document.WriterMetadata{}
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("invalid component tree: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("unexpected output after the component tree")
	}
	return m, nil
}

// payload is the session as passed to an executable on stdin.
type payload struct {
	Event      string                `json:"event"`
	Session    vss.SessionID         `json:"session,omitzero"`
	SetID      vss.SnapshotSetID     `json:"set_id,omitzero"`
	Volumes    []string              `json:"volumes"`
	Devices    map[string]string     `json:"devices,omitempty"` // original volume -> device of its copy
	Writable   bool                  `json:"writable,omitempty"`
	Context    string                `json:"context,omitempty"`
	Attributes []string              `json:"attributes,omitempty"`
	BackupType string                `json:"backup_type,omitempty"`
	Partial    bool                  `json:"partial,omitempty"`
	Bootable   bool                  `json:"bootable,omitempty"`
	Components []*document.Component `json:"components"`
}

func (h *hook) handle(ctx context.Context, on writer.Handler, e *writer.Event) error {
	c, there := h.commands[on]
	if !there {
		return nil
	}
	p := payload{
		Event: events[on], Session: e.Session, SetID: e.SetID, Volumes: e.Volumes, Devices: e.Devices,
		Writable: e.Writable, Context: e.Context.ContextName(),
		Attributes: e.Context.Names(), BackupType: e.BackupType.String(), Partial: e.Partial, Bootable: e.Bootable,
	}
	if e.Components != nil {
		p.Components = e.Components.Components
	}
	if on == writer.OnFreeze {
		if err := h.setMark(e.Session, p); err != nil {
			return err
		}
	}
	undoes := on == writer.OnThaw || on == writer.OnAbort || on == writer.OnBackupShutdown
	out, err := h.run(ctx, c, p, maxReply, !undoes)
	if err == nil && e.Components != nil {
		err = reply(out, e.Components)
	}
	if err == nil && (on == writer.OnThaw || on == writer.OnAbort) {
		h.clearMark(e.Session)
	}
	if err == nil || ctx.Err() != nil || on == writer.OnAbort || on == writer.OnBackupShutdown ||
		h.OnFailure == "abort" {
		return err
	}
	h.log.Error("a hook failed", "event", p.Event, "session", e.Session, "error", err)
	e.SetFailure(vss.CodeOf(err), reason(err))
	return nil
}

// reason returns a failure for messages: the script's last line on stderr if it has one.
func reason(err error) string {
	var e *vss.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// reply applies what an executable printed about its components. Output that isn't a JSON object is ignored.
func reply(out []byte, to *document.WriterComponents) error {
	if !strings.HasPrefix(strings.TrimSpace(string(out)), "{") {
		return nil
	}
	bad := func(err error) error {
		return vss.E("Reply", vss.ErrWriterErrorNonRetryable, err).Advise(`print {"components":[..]} or no JSON`)
	}
	var r struct {
		Components []json.RawMessage `json:"components"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return bad(err)
	}
	for _, raw := range r.Components {
		var name struct {
			LogicalPath string `json:"logical_path"`
			Name        string `json:"name"`
		}
		if err := json.Unmarshal(raw, &name); err != nil {
			return bad(err)
		}
		c := to.Component(name.LogicalPath, name.Name)
		if c == nil {
			return bad(fmt.Errorf(`component %s\%s isn't in the session`, name.LogicalPath, name.Name))
		}
		if err := json.Unmarshal(raw, c); err != nil {
			return bad(err)
		}
	}
	return nil
}
