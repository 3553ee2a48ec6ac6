package hook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/hook"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

const id = "{3d1c9c6e-7a55-4f0a-8d35-0c5c4c1d7a10}"

// folder makes a hook writer's folder: files by name, those without a dot in the name executable.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	syscall.ForkLock.RLock() // a process forked meanwhile would have the script open for writing: "text file busy"
	defer syscall.ForkLock.RUnlock()
	for name, text := range files {
		mode := os.FileMode(0o755)
		if strings.Contains(name, ".") {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func manifest(more string) string {
	return fmt.Sprintf("id = %q\nname = \"App\"\n%s\n", id, more)
}

func script(body string) string { return "#!/bin/sh\n" + body + "\n" }

// load loads one writer that must load.
func load(t *testing.T, dir, run string) writer.Writer {
	t.Helper()
	all, errs := hook.Load([]string{dir}, run, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if len(errs) != 0 || len(all) != 1 {
		t.Fatalf("%d writers, %v", len(all), errs)
	}
	return all[0]
}

// state makes scripts that keep whether the application is frozen in a folder's file, by session.
var state = map[string]string{
	"freeze": script(`touch "$(dirname "$0")/frozen.$VSS_SESSION"`),
	"thaw":   script(`rm -f "$(dirname "$0")/frozen.$VSS_SESSION"`),
}

func frozen(dir string) func() bool {
	return func() bool {
		all, _ := filepath.Glob(filepath.Join(dir, "frozen*"))
		return len(all) > 0
	}
}

// TestSuite proves hook writers of every style, in process and over a socket.
func TestSuite(t *testing.T) {
	tree, err := json.Marshal(document.WriterMetadata{
		RestoreMethod: &document.RestoreMethod{Method: vss.RestoreIfCanReplace, WriterRestore: vss.WriterRestoreAlways},
		Components: []document.WMComponent{
			{
				Type:        vss.ComponentFileGroup,
				LogicalPath: "app",
				Name:        "data",
				Selectable:  true,
				Files:       []document.FileSet{{Path: "/srv/app", FileSpec: "*", Recursive: true}},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	one := `dir=$(dirname "$0"); case "$1" in freeze) touch $dir/frozen;; thaw) rm -f $dir/frozen;; *) exit 1;; esac`
	for name, files := range map[string]map[string]string{
		"events": {
			"writer.toml": manifest(`level = "back-end"`), "identify": script("echo '" + string(tree) + "'"),
			"freeze": state["freeze"], "thaw": state["thaw"],
			"prepare-backup": script(`echo '{"components":[` +
				`{"logical_path":"app","name":"data","backup_metadata":"m"}]}'`),
			"post-snapshot": script(`echo talk`),
		},
		"only freeze and thaw": {"writer.toml": manifest(`paths = ["/srv/app"]`), "freeze": state["freeze"],
			"thaw": state["thaw"]},
		"fsfreeze-hook": {"writer.toml": manifest(`style = "fsfreeze-hook"`), "fsfreeze-hook": script(one)},
		"pre-post": {
			"writer.toml": manifest(`style = "pre-post"`), "pre": script(`touch "$(dirname "$0")/frozen"`),
			"post": script(`rm -f "$(dirname "$0")/frozen"`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			writertest.Run(t, func(t *testing.T) *writertest.World {
				dir := folder(t, files)
				return &writertest.World{
					Writer:  load(t, dir, t.TempDir()),
					Frozen:  frozen(dir),
					Volumes: []string{"/srv"},
				}
			})
		})
	}
}

// What an executable is told, and what becomes of what it says.
func TestConversation(t *testing.T) {
	dir := folder(t, map[string]string{
		"writer.toml": manifest(
			"freeze_limit = \"20s\"\nlevel = \"system\"\ninstance_name = \"first\"\nusage = " +
				"\"system-service\"\nsource = \"transacted-db\"",
		),
		"post-snapshot": script(
			`d=$(dirname "$0"); cat > $d/stdin.json; env > $d/env.txt; ` +
				`printf '%s' '{"components":[{"logical_path":"a\\b","name":"c","backup_stamp":"s1"}]}'`,
		),
	})
	w := load(t, dir, t.TempDir())
	i, err := w.Info(t.Context())
	want := writer.Info{
		ID:            vss.WriterID{GUID: vss.MustGUID(id)},
		Name:          "App",
		InstanceName:  "first",
		Usage:         vss.UsageSystemService,
		Source:        vss.SourceTransactedDB,
		Level:         vss.LevelSystem,
		FreezeTimeout: 20 * time.Second,
	}
	if err != nil || i != want {
		t.Errorf("%+v, %v", i, err)
	}
	e := &writer.Event{
		Session: vss.SessionID{
			GUID: vss.NewGUID(),
		}, SetID: vss.SnapshotSetID{GUID: vss.NewGUID()}, Volumes: []string{"/srv/my data", "/var"},
		Devices: map[string]string{
			"/var": "/dev/vss/HarddiskVolumeShadowCopy1",
		}, Writable: true, Context: vss.ContextAppRollback | vss.AttrPlex, BackupType: vss.BackupIncremental,
		Components: &document.WriterComponents{
			Components: []*document.Component{
				{Type: vss.ComponentDatabase, LogicalPath: `a\b`, Name: "c", BackupMetadata: "kept"},
			},
		},
	}
	if err := w.PostSnapshot(t.Context(), e); err != nil || e.Failure != nil {
		t.Fatalf("%v, %+v", err, e.Failure)
	}
	if c := e.Components.Components[0]; c.BackupStamp != "s1" || c.BackupMetadata != "kept" {
		t.Errorf("%+v", c)
	}
	var got struct {
		Event, Session, Context string
		SetID                   string `json:"set_id"`
		Volumes, Attributes     []string
		Devices                 map[string]string
		Writable                bool
		BackupType              string `json:"backup_type"`
		Components              []document.Component
	}
	text, err := os.ReadFile(filepath.Join(dir, "stdin.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Event != "post-snapshot" || got.Session != e.Session.String() || got.SetID != e.SetID.String() ||
		!slices.Equal(got.Volumes, e.Volumes) || got.Devices["/var"] != e.Devices["/var"] ||
		!got.Writable || got.Context != "app-rollback" ||
		!slices.Contains(got.Attributes, "plex") ||
		got.BackupType != "incremental" ||
		got.Components[0].Name != "c" {
		t.Errorf("stdin: %s", text)
	}
	env, err := os.ReadFile(filepath.Join(dir, "env.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"EVENT=post-snapshot", "SESSION=" + e.Session.String(), "VOLUMES=/srv/my data\n/var",
		"VOLUME_1=/srv/my data", "DEVICE_2=/dev/vss/HarddiskVolumeShadowCopy1",
		"WRITABLE=yes", "BACKUP_TYPE=incremental", `COMPONENTS=a\b\c`, "WRITER_ID=" + id, "WRITER_NAME=App"} {
		if !strings.Contains("\n"+string(env), "\nVSS_"+v+"\n") {
			t.Errorf("no VSS_%s in\n%s", v, env)
		}
	}
}

func TestResults(t *testing.T) {
	for _, tc := range []struct {
		name, body, policy string
		on                 writer.Handler
		err                vss.Code
		veto               vss.Code
		says               string
	}{
		{"success", "exit 0", "veto", writer.OnFreeze, vss.OK, vss.OK, ""},
		{"retry", "echo first >&2; echo 'locked by job 7' >&2; exit 75", "veto", writer.OnFreeze, vss.OK,
			vss.ErrWriterErrorRetryable, "locked by job 7"},
		{"failure", "echo broken >&2; exit 3", "veto", writer.OnFreeze, vss.OK, vss.ErrWriterErrorNonRetryable,
			"broken"},
		{"silent failure", "exit 3", "veto", writer.OnFreeze, vss.OK, vss.ErrWriterErrorNonRetryable, "exit status 3"},
		{"killed", "kill -9 $$", "veto", writer.OnFreeze, vss.OK, vss.ErrWriterErrorNonRetryable, "killed"},
		{"failure that fails the set", "echo broken >&2; exit 3", "abort", writer.OnFreeze,
			vss.ErrWriterErrorNonRetryable, vss.OK, "broken"},
		{"retry that fails the set", "exit 75", "abort", writer.OnThaw, vss.ErrWriterErrorRetryable, vss.OK, ""},
		{"failing abort", "exit 1", "veto", writer.OnAbort, vss.ErrWriterErrorNonRetryable, vss.OK, ""},
		{"bad reply", "echo '{\"components\":[{\"name\":\"other\"}]}'", "veto", writer.OnPostSnapshot, vss.OK,
			vss.ErrWriterErrorNonRetryable, "other"},
		{"no JSON", "echo '{'", "veto", writer.OnPostSnapshot, vss.OK, vss.ErrWriterErrorNonRetryable, ""},
		{"too much", "head -c 2000000 /dev/zero", "veto", writer.OnPostSnapshot, vss.OK, vss.ErrWriterErrorNonRetryable,
			"printed more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := map[writer.Handler]string{writer.OnFreeze: "freeze", writer.OnThaw: "thaw", writer.OnAbort: "abort",
				writer.OnPostSnapshot: "post-snapshot"}[tc.on]
			w := load(
				t,
				folder(
					t,
					map[string]string{
						"writer.toml": manifest(fmt.Sprintf("on_failure = %q", tc.policy)),
						name:          script(tc.body),
					},
				),
				t.TempDir(),
			)
			e := &writer.Event{
				Session:    vss.SessionID{GUID: vss.NewGUID()},
				Components: &document.WriterComponents{Components: []*document.Component{{Name: "c"}}},
			}
			err := tc.on.Call(t.Context(), w, e)
			if vss.CodeOf(err) != tc.err {
				t.Errorf("%v, want %s", err, tc.err.Name())
			}
			veto, said := vss.OK, fmt.Sprint(err)
			if e.Failure != nil {
				veto, said = e.Failure.Code, e.Failure.Message
			}
			if veto != tc.veto || !strings.Contains(said, tc.says) {
				t.Errorf("%s: %s, want %s: %s", veto.Name(), said, tc.veto.Name(), tc.says)
			}
		})
	}
}

// A script that exceeds its time is killed with all that it began; one that succeeds may leave something running.
func TestKill(t *testing.T) {
	dir := folder(t, map[string]string{
		"writer.toml":      manifest(""),
		"prepare-snapshot": script(`d=$(dirname "$0"); sleep 600 & echo $! > $d/child.txt; sleep 600`),
		"freeze":           script(`d=$(dirname "$0"); sleep 600 & echo $! > $d/kept.txt`),
	})
	w := load(t, dir, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := w.PrepareSnapshot(ctx, &writer.Event{}); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("%v", err)
	}
	if pid := pidOf(t, filepath.Join(dir, "child.txt")); alive(pid) {
		t.Errorf("its child %s still runs", pid)
	}
	e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}}
	if err := w.Freeze(t.Context(), e); err != nil || e.Failure != nil {
		t.Errorf("%v, %+v", err, e.Failure)
	}
	pid := pidOf(t, filepath.Join(dir, "kept.txt"))
	if !alive(pid) {
		t.Error("what a freeze leaves running, a lock, was killed")
	}
	kill(t, pid)
}

func TestWindow(t *testing.T) {
	dir := folder(t, map[string]string{
		"writer.toml": manifest(
			`freeze_limit = "300ms"`,
		), "freeze": script(`touch "$(dirname "$0")/frozen"; sleep 600`),
		"thaw": script(`rm -f "$(dirname "$0")/frozen"`),
	})
	w := writer.Watch(load(t, dir, t.TempDir()), slog.New(slog.DiscardHandler))
	e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}}
	if err := w.PrepareSnapshot(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := w.Freeze(t.Context(), e); vss.CodeOf(err) != vss.ErrWriterErrorTimeout {
		t.Errorf("Freeze: %v", err)
	}
	if err := w.Close(); err != nil || frozen(dir)() {
		t.Errorf("%v, still frozen", err)
	}
}

// A service that is killed while a script's application is frozen: the next one thaws it.
func TestRecover(t *testing.T) {
	dir := folder(t, map[string]string{"writer.toml": manifest(""), "freeze": state["freeze"], "thaw": state["thaw"]})
	run := filepath.Join(t.TempDir(), "hooks")
	w := load(t, dir, run)
	e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}}
	if err := w.Freeze(t.Context(), e); err != nil || !frozen(dir)() {
		t.Fatalf("not frozen: %v", err)
	}
	load(t, dir, run) // another service
	if frozen(dir)() {
		t.Error("still frozen")
	}
	if left, _ := filepath.Glob(filepath.Join(run, "*")); len(left) != 0 {
		t.Errorf("marks are left: %v", left)
	}
	if err := w.Freeze(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := w.Thaw(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(run, "*")); len(left) != 0 {
		t.Errorf("marks are left after Thaw: %v", left)
	}
}
