package testwriter

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

const sample = `
id = "{11111111-2222-3333-4444-555555555555}"
name = "T"
level = "back-end"
freeze_limit = "20s"
[metadata]
backup_schema = 0x22
[metadata.restore_method]
method = "if-can-replace"
writer_restore = "always"
[[metadata.components]]
type = "database"
logical_path = ""
name = "db"
selectable = true
database_files = [{ path = "/srv/db", filespec = "*" }]
[[metadata.components]]
type = "filegroup"
logical_path = "db"
name = "inner"
selectable = false
files = [{ path = "/srv/inner", filespec = "*", recursive = true }]
[[metadata.components]]
type = "filegroup"
logical_path = ""
name = "must"
selectable = false
files = [{ path = "/etc/t", filespec = "*" }]
`

func parsed(t *testing.T, text string) *settings {
	t.Helper()
	s, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Without faults it is a writer like any other.
func TestConforms(t *testing.T) {
	writertest.Run(t, func(t *testing.T) *writertest.World {
		frozen := writertest.NewRecorder("frozen") // notes which sessions are frozen
		w := newWriter(parsed(t, sample), newRecord("T", &bytes.Buffer{}))
		return &writertest.World{Writer: both{w, frozen}, Volumes: []string{"/"}, Frozen: frozen.Frozen}
	})
}

// both is a test writer of which a recorder knows whether it is frozen.
type both struct {
	*Writer
	r *writertest.Recorder
}

func (b both) Freeze(ctx context.Context, e *writer.Event) error {
	if err := b.r.Freeze(ctx, e); err != nil {
		return err
	}
	return b.Writer.Freeze(ctx, e)
}

func (b both) Thaw(ctx context.Context, e *writer.Event) error {
	if err := b.r.Thaw(ctx, e); err != nil {
		return err
	}
	return b.Writer.Thaw(ctx, e)
}

func (b both) Abort(ctx context.Context, e *writer.Event) error {
	if err := b.r.Abort(ctx, e); err != nil {
		return err
	}
	return b.Writer.Abort(ctx, e)
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ name, text, says string }{
		{"no id", `name = "T"`, "id"},
		{"no name", `id = "{11111111-2222-3333-4444-555555555555}"`, "name"},
		{"unknown key", sample[:strings.Index(sample, "[metadata]")] + `colour = "red"`, "colour"},
		{"unknown key of a component", sample + "colour = \"red\"\n", "colour"},
		{"level", strings.Replace(sample, "back-end", "cellar", 1), "cellar"},
		{"limit", strings.Replace(sample, `"20s"`, `"2h"`, 1), "freeze_limit"},
		{"event", sample + "[[fault]]\nevent = \"lunch\"\ndo = \"fail\"\n", "lunch"},
		{"act", sample + "[[fault]]\nevent = \"freeze\"\ndo = \"dance\"\n", "dance"},
		{"code", sample + "[[fault]]\nevent = \"freeze\"\ndo = \"fail\"\ncode = \"VSS_E_NONE\"\n", "VSS_E_NONE"},
		{"lie", sample + "[[fault]]\nevent = \"freeze\"\ndo = \"lie\"\nlie = \"class\"\n", "class"},
		{"veto in identify", sample + "[[fault]]\nevent = \"identify\"\ndo = \"veto\"\n", "veto"},
		{"time", sample + "[[fault]]\nevent = \"freeze\"\ndo = \"fail\"\nfor = \"1s\"\n", "for"},
		{"socket", `socket = "a/b"` + sample, "socket"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "t.toml")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var errs bytes.Buffer
			if code := run(t.Context(), []string{"--check", path}, &errs, &errs); code != 1 ||
				!strings.Contains(errs.String(), tc.says) || !strings.Contains(errs.String(), "E_INVALIDARG") {
				t.Errorf("exit %d: %s", code, &errs)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), nil, &out, &errs); code != 2 || !strings.Contains(errs.String(),
		"exactly one configuration is required") {
		t.Errorf("exit %d: %s", code, &errs)
	}
	if code := run(t.Context(), []string{"-h"}, &out, &errs); code != 0 || !strings.Contains(out.String(), "Usage:") {
		t.Errorf("exit %d: %s", code, &out)
	}
}

// TestFaults checks what each fault does, and how often.
func TestFaults(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		fault string
		check func(w *Writer, err error, e *writer.Event) bool
	}{
		{`do = "fail"` + "\n" + `code = "VSS_E_WRITERERROR_RETRYABLE"`,
			func(_ *Writer, err error, _ *writer.Event) bool {
				return vss.CodeOf(err) == vss.ErrWriterErrorRetryable
			}},
		{`do = "fail"` + "\n" + `application = 7` + "\n" + `message = "full"`,
			func(_ *Writer, err error, e *writer.Event) bool {
				want := writer.Failure{Code: vss.ErrWriterErrorNonRetryable, Application: 7, Message: "full"}
				return err != nil && e.Failure != nil && *e.Failure == want
			}},
		{`do = "veto"` + "\n" + `code = "0x800423f1"`, func(_ *Writer, err error, e *writer.Event) bool {
			return err == nil && e.Failure != nil && e.Failure.Code == vss.ErrWriterErrorOutOfResources
		}},
		{`do = "stall"`, func(_ *Writer, err error, _ *writer.Event) bool { return err == context.Canceled }},
		{`do = "delay"`, func(_ *Writer, err error, _ *writer.Event) bool { return err == context.Canceled }},
		{`do = "hang"` + "\n" + `for = "1ms"`, func(_ *Writer, err error, _ *writer.Event) bool { return err == nil }},
		{`do = "lie"` + "\n" + `lie = "code"`,
			func(_ *Writer, err error, _ *writer.Event) bool { return vss.CodeOf(err) == vss.ErrProviderVeto }},
		{`do = "lie"` + "\n" + `lie = "components"`, func(_ *Writer, err error, e *writer.Event) bool {
			return err == nil && len(e.Components.Components) == 2 &&
				e.Components.Components[0].BackupOptions == "forged"
		}},
	} {
		w := newWriter(parsed(t, sample+"[[fault]]\nevent = \"post-snapshot\"\nskip = 1\ntimes = 1\n"+tc.fault+"\n"),
			newRecord("T", &bytes.Buffer{}))
		for n := range 3 {
			e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()},
				Components: &document.WriterComponents{Components: []*document.Component{{Type: vss.ComponentDatabase,
					Name: "db"}}}}
			err := w.PostSnapshot(ctx, e)
			if well := err == nil && e.Failure == nil && len(e.Components.Components) == 1 &&
				e.Components.Components[0].BackupOptions == ""; n != 1 && !well {
				t.Errorf("%s: time %d is wrong: %v, %+v", tc.fault, n+1, err, e.Failure)
			}
			if n == 1 && !tc.check(w, err, e) {
				t.Errorf("%s: %v, %+v", tc.fault, err, e.Failure)
			}
		}
	}
}

func TestDies(t *testing.T) {
	w := newWriter(parsed(t, sample+"[[fault]]\nevent = \"freeze\"\ndo = \"die\"\n"), newRecord("T", &bytes.Buffer{}))
	code := 0
	w.exit = func(c int) { code = c }
	if err := w.Freeze(t.Context(), &writer.Event{}); err != nil || code != died {
		t.Errorf("%v, exit %d", err, code)
	}
}

// TestLiesOfIdentity checks that the client of a writer notices false metadata.
func TestLiesOfIdentity(t *testing.T) {
	for _, f := range []string{"event = \"identify\"\nlie = \"class\"", "event = \"identify\"\nlie = \"metadata\"",
		"event = \"identify\"\nlie = \"nothing\"", "event = \"identify\"\nlie = \"code\""} {
		w := newWriter(parsed(t, sample+"[[fault]]\ndo = \"lie\"\n"+f+"\n"), newRecord("T", &bytes.Buffer{}))
		c := writertest.Socket(t, w)
		if _, err := c.Identify(t.Context()); vss.CodeOf(err) != vss.ErrWriterErrorNonRetryable {
			t.Errorf("%s: %v", f, err)
		}
	}
	w := newWriter(parsed(t, sample+"[[fault]]\nevent = \"info\"\ndo = \"lie\"\nlie = \"class\"\n"),
		newRecord("T", &bytes.Buffer{}))
	first, err := w.Info(t.Context())
	if err != nil || first.ID.GUID != w.ID {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := w.Info(t.Context()); err != nil || again.ID == first.ID {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestComplaints checks that violations by the requester are reported, and nothing else.
func TestComplaints(t *testing.T) {
	db, inner, must := &document.Component{Type: vss.ComponentDatabase, Name: "db"},
		&document.Component{Type: vss.ComponentFileGroup, LogicalPath: "db", Name: "inner"},
		&document.Component{Type: vss.ComponentFileGroup, Name: "must"}
	saved := func(c *document.Component) *document.Component { n := *c; n.BackupSucceeded = true; return &n }
	event := func(comps ...*document.Component) writer.Event {
		return writer.Event{BackupType: vss.BackupFull, Volumes: []string{"/srv", "/etc"},
			Components: &document.WriterComponents{Components: comps}}
	}
	in := func(e writer.Event, change func(*writer.Event)) writer.Event { change(&e); return e }
	good := event(saved(db), saved(must))
	whole := []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw,
		writer.OnPostSnapshot, writer.OnBackupComplete, writer.OnBackupShutdown}
	for _, tc := range []struct {
		name   string
		event  writer.Event
		events []writer.Handler
		says   []string
	}{
		{"a good backup", good, whole, nil},
		{"a backup without components", in(good, func(e *writer.Event) { e.Components = nil }), whole, nil},
		{"an aborted one", good, []writer.Handler{writer.OnPrepareBackup, writer.OnAbort, writer.OnAbort,
			writer.OnBackupShutdown}, nil},
		{"required missing", event(saved(db)), whole, []string{"must was not added"}},
		{"implicit added", event(saved(db), saved(inner), saved(must)), whole, []string{`db\inner must not be added`}},
		{"added twice", event(saved(db), saved(db), saved(must)), whole, []string{"db must not be added"}},
		{"added unknown", event(saved(must),
			saved(&document.Component{Type: vss.ComponentDatabase, Name: "x"})), whole,
			[]string{"component x was added, but does not exist"}},
		{"added as another type", event(saved(must),
			saved(&document.Component{Type: vss.ComponentFileGroup, Name: "db"})), whole,
			[]string{"but is a database"}},
		{"no state", in(good, func(e *writer.Event) { e.BackupType = vss.BackupUndefined }), whole,
			[]string{"SetBackupState was not called"}},
		{"a type that isn't in the schema", in(good, func(e *writer.Event) { e.BackupType = vss.BackupDifferential }),
			whole, []string{"is not in the writer's schema"}},
		{"no stamp", in(event(saved(must)), func(e *writer.Event) { e.BackupType = vss.BackupIncremental }), whole,
			[]string{"SetPreviousBackupStamp was not called for must"}},
		{"a volume is missing", in(good, func(e *writer.Event) { e.Volumes = []string{"/srv/"} }), whole,
			[]string{"/etc/t of component must is not on a volume"}},
		{"not saved", event(db, saved(must)), whole, []string{"was not called with true for db"}},
		{"no end", good, []writer.Handler{writer.OnPrepareBackup, writer.OnBackupShutdown},
			[]string{"ended without BackupComplete or AbortBackup"}},
		{"complete without copies", good, []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot,
			writer.OnBackupComplete, writer.OnBackupShutdown}, []string{"the set was not created"}},
		{"no preparation", good, []writer.Handler{writer.OnPrepareSnapshot},
			[]string{"PrepareSnapshot without a preceding PrepareBackup"}},
		{"freeze twice", good, []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze,
			writer.OnFreeze}, []string{"Freeze a second time"}},
		{"after an abort", good, []writer.Handler{writer.OnPrepareBackup, writer.OnAbort, writer.OnPrepareSnapshot},
			[]string{"PrepareSnapshot after Abort"}},
		{"a restore of nothing", good, []writer.Handler{writer.OnPreRestore}, []string{"no component is selected"}},
		{"a restore without status", event(&document.Component{Type: vss.ComponentDatabase, Name: "db",
			SelectedForRestore: true}), []writer.Handler{writer.OnPreRestore, writer.OnPostRestore},
			[]string{"SetFileRestoreStatus was not called for db"}},
		{"a good restore", event(&document.Component{Type: vss.ComponentDatabase, Name: "db", SelectedForRestore: true,
			FileRestoreStatus: vss.RestoredAll}), []writer.Handler{writer.OnPreRestore, writer.OnPostRestore}, nil},
		{"an end without a beginning", good, []writer.Handler{writer.OnPostRestore},
			[]string{"PostRestore without a preceding PreRestore"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			w := newWriter(parsed(t, sample), newRecord("T", &out))
			session := vss.SessionID{GUID: vss.NewGUID()}
			for _, h := range tc.events {
				e := tc.event
				e.Session, e.Components = session, e.Components.Clone()
				if err := h.Call(t.Context(), w, &e); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for d := json.NewDecoder(&out); d.More(); {
				var l line
				if err := d.Decode(&l); err != nil {
					t.Fatal(err)
				}
				if l.At == "complaint" {
					got = append(got, l.Complaint)
				}
			}
			if len(got) != len(tc.says) || int(w.out.complaints.Load()) != len(got) {
				t.Fatalf("complaints %q, want %q", got, tc.says)
			}
			for i := range got {
				if !strings.Contains(got[i], tc.says[i]) {
					t.Errorf("complaint %q, want %q", got[i], tc.says[i])
				}
			}
		})
	}
}

// A writer that failed isn't notified of the end of the backup and does not complain about it.
func TestNoComplaintAfterOwnFailure(t *testing.T) {
	for _, do := range []string{"fail", "veto", "panic"} {
		w := newWriter(parsed(t, sample+"[[fault]]\nevent = \"prepare-snapshot\"\ndo = \""+do+"\"\n"),
			newRecord("T", &bytes.Buffer{}))
		c := writertest.Socket(t, w)
		for _, h := range []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnBackupShutdown} {
			_ = h.Call(t.Context(), c, &writer.Event{Session: vss.SessionID{GUID: w.ID}, BackupType: vss.BackupFull})
		}
		if n := w.out.complaints.Load(); n != 0 {
			t.Errorf("%s: %d complaints", do, n)
		}
	}
}

// The program joins, records, and ends with 1 when it had to complain.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	config, log := filepath.Join(dir, "t.toml"), filepath.Join(dir, "log")
	if err := os.MkdirAll(filepath.Join(dir, "writers"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("record = \""+log+"\"\n"+sample), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"--run", dir, config}, &bytes.Buffer{}, &bytes.Buffer{}) }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if b, _ := os.ReadFile(log); strings.Contains(string(b), `"at":"ready"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it isn't ready")
		}
	}
	c, err := writer.Connect(t.Context(), filepath.Join(dir, "writers", "T.sock"), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}}
	if err := c.PrepareBackup(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	stop()
	if code := <-ended; code != 1 {
		t.Errorf("exit %d", code)
	}
	b, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(b), "SetBackupState was not called") ||
		!strings.Contains(string(b), `"event":"backup-shutdown"`) {
		t.Errorf("%v\n%s", err, b)
	}
	_ = c.Close()
}
