package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
)

type backupDoc struct {
	setDoc
	BackupType string `json:"backup_type"`
	BC         string
	WM         []string
	Components []componentDoc
}

type componentDoc struct {
	Writer, Type, Name, Stamp, Status, Failure string
	LogicalPath                                string `json:"logical_path"`
	Succeeded                                  bool
}

type restoreDoc struct {
	SessionID  string `json:"session_id"`
	ExitCode   int    `json:"exit_code"`
	Components []componentDoc
	Writers    []writerDoc
}

// TestBackupPostgres: a cluster on three volumes is backed up by tar, dropped and restored: the writer stops the
// server and starts it again, and what was committed before the backup is there.
func TestBackupPostgres(t *testing.T) {
	for _, damage := range []string{"dropped", "running"} {
		t.Run(damage, func(t *testing.T) { backUpPostgres(t, damage == "dropped") })
	}
}

func backUpPostgres(t *testing.T, drop bool) {
	w := newWorld(t)
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v := []string{w.volume("data", "512M", "ext4", "gpt"), w.volume("wal", "512M", "xfs", "gpt"),
		w.volume("space", "256M", "ext4", "mbr")}
	s := &pgserver.Server{
		Data: filepath.Join(v[0], "pg"), WAL: filepath.Join(v[1], "pg"), Run: filepath.Join(w.dir, "pgrun"),
		Tablespaces: map[string]string{"space": filepath.Join(v[2], "pg")},
		Settings:    map[string]string{"max_wal_size": "160MB", "min_wal_size": "80MB"},
	}
	ctx := context.Background()
	t.Cleanup(func() { _ = s.Stop(ctx) })
	sql := func(text string) string {
		t.Helper()
		out, err := s.SQL(ctx, text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if err := s.Make(ctx); err != nil {
		t.Fatal(err)
	}
	sql("CREATE TABLE kept AS SELECT generate_series(1, 10000) AS n; CREATE TABLE apart TABLESPACE space AS SELECT " +
		"generate_series(1, 5000) AS n")

	bc, wm, archive := filepath.Join(w.dir, "b.xml"), filepath.Join(w.dir, "wm"), filepath.Join(w.dir, "b.tar")
	var b backupDoc
	w.vss(&b, "backup", "--bc", bc, "--wm", wm, v[0], v[1], v[2], "--", "sh", "-c",
		`cp "$VSS_FILES_FROM" `+archive+`.list; tar -cPf `+archive+` --no-recursion --null -T "$VSS_FILES_FROM0"`)
	if len(b.Components) != 1 || !b.Components[0].Succeeded || b.Components[0].Stamp == "" || len(b.WM) != 1 ||
		b.Consistency != "application" {
		t.Fatalf("%+v", b)
	}
	text, err := os.ReadFile(archive + ".list")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for path, want := range map[string]bool{
		s.Data + "/PG_VERSION": true, s.Data + "/base": true, s.Data + "/postmaster.pid": false, s.Data +
			"/pg_wal": true,
		s.Data + "/pg_notify": false, s.WAL + "/archive_status": true,
	} {
		if slices.Contains(lines, path) != want {
			t.Errorf("%s is listed: %v, want %v", path, !want, want)
		}
	}
	if left := w.shadows(); len(left) > 0 {
		t.Errorf("copies left: %+v", left)
	}

	sql("DROP TABLE apart; INSERT INTO kept SELECT generate_series(10001, 20000)")
	if drop {
		if err := s.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{s.Data, s.WAL, s.Tablespaces["space"]} {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r := w.try("restore", "--bc", bc, "--wm", wm, "--", "sh", "-c", "exit 4"); r.code != 4 {
		t.Errorf("a restore whose command restores nothing and exits with 4: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if !drop {
		if n := sql("SELECT count(*) FROM kept"); n != "20000" {
			t.Errorf("after a restore of nothing the server has %s rows, not all", n)
		}
	}
	var r restoreDoc
	w.vss(&r, "restore", "--bc", bc, "--wm", wm, "--", "sh", "-c",
		`test ! -e `+s.Data+`/PG_VERSION && tar -xPf `+archive)
	if len(r.Components) != 1 || r.Components[0].Status != "all" || r.Components[0].Failure != "" || r.ExitCode != 0 ||
		r.SessionID == "" {
		t.Errorf("%+v", r)
	}
	if n := sql("SELECT count(*), sum(n) FROM kept"); n != "10000|50005000" {
		t.Errorf("kept has %s", n)
	}
	if n := sql("SELECT count(*) FROM apart"); n != "5000" {
		t.Errorf("the table in the tablespace has %s rows", n)
	}
	if err := s.Check(ctx); err != nil {
		t.Error(err)
	}
}

// recorded is a host with a hook writer that notes its events, and what became of its files.
type recorded struct {
	*world
	point, hook, log string
}

// newRecorded makes the writer, on a host that more is added to the configuration of. The writer's data are on a
// volume, in a folder that must come from the copy and one that needn't.
func newRecorded(t *testing.T, more string) *recorded {
	w := newWorld(t)
	r := &recorded{world: w, hook: filepath.Join(w.dir, "hooks", "recorder"), log: filepath.Join(w.dir, "log")}
	if err := os.MkdirAll(r.hook, 0o755); err != nil {
		t.Fatal(err)
	}
	w.configure(fmt.Sprintf("[writers]\nhooks = [%q]\n", filepath.Dir(r.hook)) + more)
	w.write(filepath.Join(r.hook, "writer.toml"),
		"id = \"6f0a2f1c-3f0e-4a37-9d53-2d5b7d1f0001\"\nname = \"Recorder\"\n")
	r.script("identify", "true")
	for _, e := range []string{"prepare-backup", "prepare-snapshot", "freeze", "thaw", "post-snapshot", "abort",
		"backup-complete", "backup-shutdown", "pre-restore", "post-restore"} {
		r.script(e, "true")
	}
	r.point = w.volume("a", "64M", "ext4", "gpt")
	r.identify("")
	for _, dir := range []string{"data/sub/empty", "live", "export"} {
		if err := os.MkdirAll(filepath.Join(r.point, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.fill("before")
	return r
}

func (r *recorded) fill(text string) {
	for _, f := range []string{"data/f", "data/sub/g", "data/line\nbreak", "data/temp", "live/f", "export/f"} {
		r.write(filepath.Join(r.point, f), text)
	}
}

// identify has the writer describe its components, with more file sets.
func (r *recorded) identify(more string) {
	r.Helper()
	set := func(dir, rest string) string {
		return fmt.Sprintf(`{"path": %q, "filespec": "*", "recursive": true%s}`, filepath.Join(r.point, dir), rest)
	}
	tree := fmt.Sprintf(`{"backup_schema": 3,
"restore_method": {"method": "if-can-replace", "writer_restore": "always"},
"components": [{"type": "filegroup", "logical_path": "", "name": "files", "selectable": true, "files": [%s, %s, %s%s]},
 {"type": "filegroup", "logical_path": "files", "name": "part", "selectable": false,
  "selectable_for_restore": true, "files": [{"path": %q, "filespec": "f"}]}],
"exclude_files": [{"path": %q, "filespec": "temp"}]}`,
		set("data", ""), set("live", `, "mask": 15`),
		set("placed", fmt.Sprintf(`, "alternate_path": %q`, filepath.Join(r.point, "export"))), more,
		filepath.Join(r.dir, "elsewhere"), filepath.Join(r.point, "data"))
	r.write(filepath.Join(r.dir, "tree.json"), tree)
	r.script("identify", "exec cat "+filepath.Join(r.dir, "tree.json"))
}

// script makes an executable of the writer: it notes the event with the status of the files, then does what is given.
func (r *recorded) script(event, does string) {
	r.Helper()
	text := "#!/bin/sh\n"
	if event != "identify" {
		text += `status=$(tr -d '\n' | sed -n 's/.*"file_restore_status":"\([a-z]*\)".*/ \1/p')` +
			"\necho \"$VSS_EVENT$status\" >>" + r.log + "\n"
	}
	path := filepath.Join(r.hook, event)
	r.write(path+".new", text+does+"\n")
	if err := os.Chmod(path+".new", 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.Fatal(err)
	}
}

// saw checks what the writer was told since the last time.
func (r *recorded) saw(want ...string) {
	r.Helper()
	text, _ := os.ReadFile(r.log)
	_ = os.Remove(r.log)
	if got := strings.Fields(strings.ReplaceAll(string(text), " ", "=")); !slices.Equal(got, want) {
		r.Errorf("the writer saw %v, want %v", got, want)
	}
}

// into reads the document of a command, however it ended.
func (r *recorded) into(x result, v any) {
	r.Helper()
	if err := json.Unmarshal(x.stdout, v); err != nil {
		r.Fatalf("exit %d, no document: %v\n%s%s", x.code, err, x.stdout, x.stderr)
	}
}

// TestBackupEvents: what a writer sees of backups and restores that succeed, fail and are refused, and what their
// commands see.
func TestBackupEvents(t *testing.T) {
	r := newRecorded(t, "")
	bc, wm, got := filepath.Join(r.dir, "b.xml"), filepath.Join(r.dir, "wm"), filepath.Join(r.dir, "got")
	taken := []string{"prepare-backup", "prepare-snapshot", "freeze", "thaw", "post-snapshot"}
	backup := func(args ...string) []string { return append([]string{"backup", "--bc", bc, "--wm", wm}, args...) }
	elsewhere := filepath.Join(r.dir, "elsewhere")
	if err := os.MkdirAll(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}

	t.Run("aborted", func(t *testing.T) {
		if x := r.try(backup(r.point, "--", "sh", "-c", "exit 3")...); x.code != 3 {
			t.Errorf("exit %d\n%s", x.code, x.stderr)
		}
		if _, err := os.Stat(bc); err == nil {
			t.Error("an aborted backup left a document")
		}
		if left, _ := filepath.Glob(filepath.Join(wm, "*")); len(left) > 0 {
			t.Errorf("an aborted backup left %v", left)
		}
		r.saw(append(taken, "backup-shutdown")...) // no abort after post-snapshot
	})
	t.Run("a file is missing", func(t *testing.T) {
		var b backupDoc
		x := r.try(backup(r.point, "--", "true")...)
		r.into(x, &b)
		if x.code != 1 || len(b.Components) != 1 || b.Components[0].Succeeded ||
			!strings.Contains(b.Components[0].Failure, "elsewhere") {
			t.Errorf("exit %d, %+v", x.code, b.Components)
		}
		r.saw(append(taken, "backup-complete", "backup-shutdown")...)
		r.refused("VSS_E_OBJECT_NOT_FOUND", "restore", "--bc", bc, "--wm", wm, "--", "true")
	})
	r.write(filepath.Join(elsewhere, "f"), "before")
	t.Run("a file isn't on a volume of the set", func(t *testing.T) {
		var b backupDoc
		x := r.try(backup(r.point, "--", "true")...)
		r.into(x, &b)
		if x.code != 1 || !strings.Contains(b.Components[0].Failure, "isn't on a volume of the set") {
			t.Errorf("exit %d, %+v", x.code, b.Components)
		}
		r.saw(append(taken, "backup-complete", "backup-shutdown")...)
	})
	tree, err := os.ReadFile(filepath.Join(r.dir, "tree.json"))
	if err != nil {
		t.Fatal(err)
	}
	// may be read where it is
	r.write(filepath.Join(r.dir, "tree.json"), strings.ReplaceAll(string(tree), `"filespec": "f"}`,
		`"filespec": "f", "mask": 15}`))
	t.Run("complete", func(t *testing.T) {
		r.script("post-snapshot", fmt.Sprintf("for f in data/f live/f export/f; do echo after >%s/$f; done", r.point))
		defer r.script("post-snapshot", "true")
		var b backupDoc
		r.vss(&b, backup("--type", "incremental", r.point, "--", "sh", "-c",
			fmt.Sprintf(`cp "$VSS_FILES_FROM" %s; cp "$VSS_FILES_FROM0" %s0; `+
				`cat %s/data/f %s/live/f %s/export/f >%s.text`, got, got, r.point, r.point, r.point, got))...)
		if b.BackupType != "incremental" || len(b.Components) != 1 || !b.Components[0].Succeeded || b.BC != bc {
			t.Errorf("%+v", b)
		}
		r.saw(append(taken, "backup-complete", "backup-shutdown")...)
		in := func(p string) string { return filepath.Join(r.point, p) }
		want := []string{in("data"), in("data/f"), in("data/sub"), in("data/sub/empty"), in("data/sub/g"), in("live"),
			in("live/f"), in("export"), in("export/f"), filepath.Join(elsewhere, "f")}
		text, _ := os.ReadFile(got)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if slices.Sort(lines); !slices.Equal(lines, slices.Sorted(slices.Values(want))) {
			t.Errorf("listed: %q, want %q", lines, want)
		}
		if nuls, _ := os.ReadFile(got + "0"); strings.Count(string(nuls), "\x00") != len(want)+1 ||
			!strings.Contains(string(nuls), in("data/line\nbreak")+"\x00") {
			t.Errorf("the list with NUL: %q", nuls)
		}
		if text, _ := os.ReadFile(got + ".text"); string(text) != "beforeafter\nbefore" {
			t.Errorf("CMD read %q from the copy, live, and the copy", text)
		}
		if text, err := os.ReadFile(bc); err != nil {
			t.Error(err)
		} else if d, err := document.Parse(text); err != nil || len(d.Writers) != 1 ||
			!d.Writers[0].Components[0].BackupSucceeded || !d.SelectComponents {
			t.Errorf("%+v, %v", d, err)
		}
	})

	t.Run("builds on another", func(t *testing.T) {
		r.script("post-snapshot",
			`echo '{"components": [`+
				`{"type": "filegroup", "logical_path": "", "name": "files", "backup_stamp": "one"}]}'`)
		r.vss(nil, backup("--component", "recorder/files", r.point, "--", "true")...)
		r.script("post-snapshot", "true")
		r.saw(append(taken, "backup-complete", "backup-shutdown")...)
		seen := filepath.Join(r.dir, "seen")
		r.script("prepare-snapshot", "env | grep VSS_BACKUP_TYPE >"+seen)
		var b backupDoc
		r.vss(&b, backup("--type", "differential", "--previous", bc, "--component",
			"6F0A2F1C-3F0E-4A37-9D53-2D5B7D1F0001", r.point, "--", "true")...)
		r.script("prepare-snapshot", "true")
		r.saw(append(taken, "backup-complete", "backup-shutdown")...)
		if text, _ := os.ReadFile(seen); strings.TrimSpace(string(text)) != "VSS_BACKUP_TYPE=differential" ||
			b.BackupType != "differential" {
			t.Errorf("the writer was told %s", text)
		}
		text, err := os.ReadFile(bc)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := document.Parse(text); err != nil || d.Writers[0].Components[0].PreviousBackupStamp != "one" {
			t.Errorf("%+v, %v", d, err)
		}
	})

	restore := func(args ...string) []string { return append([]string{"restore", "--bc", bc, "--wm", wm}, args...) }
	t.Run("restored", func(t *testing.T) {
		var d restoreDoc
		r.vss(&d, restore("--", "sh", "-c", "cp $VSS_FILES_FROM "+got)...)
		r.saw("pre-restore", "post-restore=all")
		if len(d.Components) != 1 || d.Components[0].Status != "all" || len(d.Writers) != 1 ||
			d.Writers[0].State != "stable" {
			t.Errorf("%+v", d)
		}
		text, _ := os.ReadFile(got)
		want := fmt.Sprintf("%s/data\n%s/live\n%s/placed\n%s/f\n", r.point, r.point, r.point, elsewhere)
		if string(text) != want {
			t.Errorf("listed: %q, want %q", text, want)
		}
	})
	t.Run("a part", func(t *testing.T) {
		r.vss(nil, restore("--component", "recorder/files/part", "--", "sh", "-c", "cp $VSS_FILES_FROM "+got)...)
		r.saw("pre-restore", "post-restore=all")
		if text, _ := os.ReadFile(got); string(text) != elsewhere+"/f\n" {
			t.Errorf("listed: %q", text)
		}
	})
	t.Run("the command fails", func(t *testing.T) {
		x := r.try(restore("--", "sh", "-c", "exit 5")...)
		var d restoreDoc
		r.into(x, &d)
		if x.code != 5 || d.Components[0].Status != "failed" {
			t.Errorf("exit %d, %+v", x.code, d)
		}
		r.saw("pre-restore", "post-restore=failed")
	})
	t.Run("interrupted", func(t *testing.T) {
		started := filepath.Join(r.dir, "started")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := r.command(ctx, restore("--", "sh", "-c", "touch "+started+"; exec sleep 60")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(started); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the command doesn't start")
			}
		}
		_ = cmd.Process.Signal(unix.SIGTERM)
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(unix.SIGTERM) {
			t.Errorf("exit %d", cmd.ProcessState.ExitCode())
		}
		r.saw("pre-restore", "post-restore=failed")
	})
	t.Run("the command isn't there", func(t *testing.T) {
		if x := r.try(restore("--", "no-such-program")...); x.code != exitMissing {
			t.Errorf("exit %d\n%s", x.code, x.stdout)
		}
		r.saw()
	})
	t.Run("pre-restore fails", func(t *testing.T) {
		r.script("pre-restore", "echo the service does not stop >&2; exit 1")
		defer r.script("pre-restore", "true")
		ran := filepath.Join(r.dir, "ran")
		f := r.refused("VSS_E_WRITERERROR_NONRETRYABLE", restore("--", "touch", ran)...)
		if _, err := os.Stat(ran); err == nil || !strings.Contains(f.Cause, "does not stop") {
			t.Errorf("%+v; the command was run: %v", f, err == nil)
		}
		r.saw("pre-restore", "post-restore=none")
		r.vss(nil, restore("--ignore-writers", "--", "touch", ran)...)
		if _, err := os.Stat(ran); err != nil {
			t.Error(err)
		}
		r.saw("pre-restore", "post-restore=all")
	})
	t.Run("post-restore fails", func(t *testing.T) {
		r.script("post-restore", "echo the service does not start >&2; exit 1")
		defer r.script("post-restore", "true")
		x := r.try(restore("--", "true")...)
		var d restoreDoc
		r.into(x, &d)
		if x.code != 1 || d.Writers[0].State != "failed-at-post-restore" || d.ExitCode != 0 {
			t.Errorf("exit %d, %+v", x.code, d)
		}
		r.saw("pre-restore", "post-restore=all")
	})
	t.Run("wrong usage", func(t *testing.T) {
		for _, args := range [][]string{
			{"backup", "--bc", bc, r.point, "--", "true"}, {"backup", "--wm", wm, r.point, "--", "true"},
			backup(r.point), backup("--", "true"),
			backup("--no-writers", r.point, "--", "true"), backup("--transportable", r.point, "--", "true"),
			backup("--type", "whole", r.point, "--", "true"),
			{"restore", "--", "true"}, restore(), restore("x", "--", "true"),
		} {
			if x := r.try(args...); x.code != 2 {
				t.Errorf("vss %v: exit %d, not 2\n%s", args, x.code, x.stdout)
			}
		}
		r.saw()
	})
	t.Run("nothing fits", func(t *testing.T) {
		for _, args := range [][]string{backup("--component", "Recorder/none", r.point, "--", "true"),
			backup("--component", "nobody", r.point, "--", "true")} {
			if x := r.try(args...); x.code != 125 || !strings.Contains(string(x.stdout), "VSS_E_OBJECT_NOT_FOUND") {
				t.Errorf("vss %v: exit %d\n%s", args, x.code, x.stdout)
			}
		}
		r.refused("VSS_E_OBJECT_NOT_FOUND", restore("--component", "Recorder/none", "--", "true")...)
		r.refused("VSS_E_OBJECT_NOT_FOUND", "restore", "--bc", bc, "--wm", r.dir+"/hooks", "--", "true")
		r.saw()
	})
}

const exitMissing = 127
