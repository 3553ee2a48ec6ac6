package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestJSON runs every command with --json, with success and with failures, and compares exit codes and documents with
// those of the program of commit 076ba50 in testdata/json. Scripts depend on them: fields may be added, and the texts
// of message, cause and hint may change, but nothing else. One more change is agreed: the step of a creation that was
// called target-luns is called collect.
func TestJSON(t *testing.T) {
	r := newRecorded(t, `
[writers.postgres]
clusters = []
[writers.mariadb]
servers = []
[writers.redis]
servers = []
[host]
name = "this-host"
[service]
idle_exit = "1h"
`)
	j := &jsonScript{recorded: r, golden: newGolden(t, r.dir), ran: map[string]bool{}}
	j.luns()
	j.copies()
	j.moves()
	j.applications()
	j.failures()
	j.complete()
}

// jsonScript runs commands and compares their documents.
type jsonScript struct {
	*recorded
	golden *golden
	ran    map[string]bool // commands
}

// run runs a command, which must exit with code, compares its document with the golden file called name and returns it.
func (j *jsonScript) run(name string, code int, args ...string) any {
	j.Helper()
	r := j.try(args...)
	if r.code != code {
		j.Errorf("%s: vss %v: exit %d, want %d\n%s%s", name, args, r.code, code, r.stdout, r.stderr)
	}
	doc, err := readDocument(r.stdout)
	if err != nil {
		j.Fatalf("%s: vss %v: %v\n%s%s", name, args, err, r.stdout, r.stderr)
	}
	for n := min(len(args), 2); n > 0; n-- {
		j.ran[strings.Join(args[:n], " ")] = true
	}
	j.golden.compare(name, args, doc)
	return doc
}

// at is the text at a path in a document.
func (j *jsonScript) at(doc any, path ...any) string {
	j.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := doc.(map[string]any)
			doc = m[p]
		case int:
			l, _ := doc.([]any)
			if p >= len(l) {
				j.Fatalf("no element %v of %v", path, doc)
			}
			doc = l[p]
		}
	}
	s, ok := doc.(string)
	if !ok {
		j.Fatalf("no text at %v: %v", path, doc)
	}
	return s
}

func (j *jsonScript) luns() {
	j.Helper()
	j.run("version", 0, "version")
	j.run("array-list", 0, "array", "list")
	j.run("lun-create", 0, "lun", "create", "b", "--size", "64M")
	j.run("lun-format-mbr", 0, "lun", "format", "b", "--fs", "ext4", "--mbr")
	j.must(os.MkdirAll(j.b(), 0o755))
	j.run("lun-mount", 0, "lun", "mount", "b", j.b())
	j.run("lun-create-spare", 0, "lun", "create", "spare", "--size", "32M")
	j.run("lun-format-gpt", 0, "lun", "format", "spare", "--fs", "ext4", "--gpt")
	j.run("lun-flags", 0, "lun", "flags", "spare:1")
	j.run("lun-flags-set", 0, "lun", "flags", "spare:1", "--set", "hidden,no-auto-mount")
	j.run("lun-flags-clear", 0, "lun", "flags", "spare:1", "--clear", "hidden,no-auto-mount")
	j.run("lun-set-read-only", 0, "lun", "set", "spare", "--read-only")
	j.run("lun-set-read-write", 0, "lun", "set", "spare", "--read-write")
	j.run("lun-rename", 0, "lun", "rename", "spare", "rest")
	j.run("lun-extend", 0, "lun", "extend", "rest", "--size", "48M")
	j.run("lun-mask", 0, "lun", "mask", "rest")
	j.run("lun-unmask", 0, "lun", "unmask", "rest")
	j.run("lun-unmask-other", 0, "lun", "unmask", "rest", "--to", "other-host")
	j.run("lun-mask-other", 0, "lun", "mask", "rest", "--from", "other-host")
	j.run("lun-list", 0, "lun", "list")
	j.run("lun-rescan", 0, "lun", "rescan")
	j.run("lun-show", 0, "lun", "show", "rest")
	at := filepath.Join(j.dir, "mnt-rest")
	j.must(os.MkdirAll(at, 0o755))
	j.run("lun-mount-persistent", 0, "lun", "mount", "rest", at, "--persist")
	j.run("lun-delete-mounted", 1, "lun", "delete", "rest")
	j.run("lun-unmount", 0, "lun", "unmount", "rest")
	j.run("lun-delete", 0, "lun", "delete", "rest")
}

// b is where the second volume is mounted; the first one's is point.
func (j *jsonScript) b() string { return filepath.Join(j.dir, "mnt-b") }

func (j *jsonScript) copies() {
	j.Helper()
	j.run("list-shadows-none", 0, "list", "shadows")
	j.run("list-writers", 0, "list", "writers")
	j.run("list-providers", 0, "list", "providers")
	j.volumes()
	set := j.run("create", 0, "create", j.point, j.b())
	id, first := j.at(set, "set_id"), j.at(set, "shadow_copies", 0, "id")
	j.run("show-set", 0, "show", id)
	j.run("show-copy", 0, "show", first)
	j.run("list-shadows", 0, "list", "shadows")
	j.run("list-shadows-volume-unknown", 0, "list", "shadows", "--volume", filepath.Join(j.dir, "nothing"))
	j.run("list-shadows-volume", 0, "list", "shadows", "--volume", j.b())
	at := filepath.Join(j.dir, "exposed")
	j.must(os.MkdirAll(at, 0o755))
	j.run("expose", 0, "expose", first, at)
	j.run("show-exposed", 0, "show", first)
	j.run("unexpose", 0, "unexpose", at)
	j.run("unexpose-again", 1, "unexpose", first)
	j.run("create-command", 0, "create", "--context", "backup", j.point, "--", "true")
	j.run("create-command-fails", 7, "create", "--context", "backup", "--no-writers", j.point, "--", "sh", "-c",
		"exit 7")
	j.run("exec", 0, "exec", "--no-writers", j.point, "--", "test", "-e", filepath.Join(j.point, "live"))
	j.run("exec-fails", 3, "exec", "--no-writers", j.point, "--", "sh", "-c", "exit 3")
	j.run("create-no-writers", 0, "create", "--no-writers", "--no-autorecovery", "--differential", "--hold-limit", "5s",
		j.point)
	j.run("delete-oldest", 0, "delete", "--oldest", j.b())
	j.run("delete-volume", 0, "delete", "--volume", j.point)
	j.run("delete-nothing", 1, "delete", id)
	set = j.run("create-one", 0, "create", "--no-writers", j.point)
	j.run("delete-copy", 0, "delete", j.at(set, "shadow_copies", 0, "id"))
	set = j.run("create-again", 0, "create", "--no-writers", j.point)
	j.run("delete-set", 0, "delete", j.at(set, "set_id"))
	j.run("create-writers-chosen", 0, "create", "--writer-exclude", "Recorder", j.point)
	j.run("delete-all", 0, "delete", "--all")
}

// volumes compares the list of volumes, but for those of the machine on which the test runs.
func (j *jsonScript) volumes() {
	j.Helper()
	var all, ours []any
	j.vss(&all, "list", "volumes")
	for _, v := range all {
		if text, _ := json.Marshal(v); bytes.Contains(text, []byte(j.dir+"/mnt-")) {
			ours = append(ours, v)
		}
	}
	j.ran["list volumes"] = true
	j.golden.compare("list-volumes", []string{"list", "volumes"}, ours)
}

func (j *jsonScript) moves() {
	j.Helper()
	bc := filepath.Join(j.dir, "set.xml")
	set := j.run("create-transportable", 0, "create", "--no-writers", "--transportable", "--bc", bc, j.point, j.b())
	j.run("import", 0, "import", "--bc", bc)
	j.run("import-again", 1, "import", "--bc", bc)
	j.run("break-revert", 1, "break", j.at(set, "set_id"), "--revert-identity")
	broken := j.run("break", 0, "break", j.at(set, "set_id"), "--read-write")
	for i := range 2 {
		j.run("lun-show-broken-"+strconv.Itoa(i), 0, "lun", "show", j.at(broken, "luns", i, "lun"))
		j.run("lun-delete-broken-"+strconv.Itoa(i), 0, "lun", "delete", j.at(broken, "luns", i, "lun"))
	}
	set = j.run("create-to-mask", 0, "create", "--no-writers", j.point)
	broken = j.run("break-mask", 0, "break", j.at(set, "set_id"), "--mask")
	j.run("lun-show-masked", 0, "lun", "show", j.at(broken, "luns", 0, "lun"))
	j.run("doctor", 0, "doctor")
	j.run("lun-delete-masked", 0, "lun", "delete", j.at(broken, "luns", 0, "lun"))
}

func (j *jsonScript) applications() {
	j.Helper()
	elsewhere := filepath.Join(j.dir, "elsewhere")
	j.must(os.MkdirAll(elsewhere, 0o755))
	tree := filepath.Join(j.dir, "tree.json")
	text, err := os.ReadFile(tree)
	j.must(err)
	j.write(filepath.Join(elsewhere, "f"), "before")
	bc, wm := filepath.Join(j.dir, "b.xml"), filepath.Join(j.dir, "wm")
	j.run("backup-not-included", 1, "backup", "--bc", bc, "--wm", wm, j.point, "--", "true")
	j.write(tree, strings.ReplaceAll(string(text), `"filespec": "f"}`, `"filespec": "f", "mask": 15}`))
	j.must(os.RemoveAll(wm))
	_ = os.Remove(bc)
	j.run("backup", 0, "backup", "--bc", bc, "--wm", wm, j.point, "--", "true")
	j.run("restore", 0, "restore", "--bc", bc, "--wm", wm, "--", "true")
	j.run("restore-fails", 4, "restore", "--bc", bc, "--wm", wm, "--", "sh", "-c", "exit 4")
	j.script("freeze", "exit 1")
	set := j.run("create-writer-fails", 0, "create", j.point)
	j.run("create-writer-required", 1, "create", "--require", "application", j.point)
	j.run("list-writers-failed", 0, "list", "writers")
	j.script("freeze", "true")
	j.run("delete-writer-failed", 0, "delete", j.at(set, "set_id"))
}

func (j *jsonScript) failures() {
	j.Helper()
	const unknown = "{12345678-1234-4234-8234-123456789abc}"
	missing := filepath.Join(j.dir, "nothing")
	for _, c := range []struct {
		name string
		code int
		args []string
	}{
		{"show", 1, []string{"show", unknown}},
		{"delete", 1, []string{"delete", unknown}},
		{"break", 1, []string{"break", unknown}},
		{"expose", 1, []string{"expose", unknown, missing}},
		{"unexpose", 1, []string{"unexpose", unknown}},
		{"import", 1, []string{"import", "--bc", missing}},
		{"create", 1, []string{"create", missing}},
		{"create-not-possible", 1, []string{"create", "--context", "client-accessible", j.point}},
		{"create-twice", 1, []string{"create", j.point, j.point}},
		{"create-provider", 1, []string{"create", "--provider", "nobody", j.point}},
		{"lun-show", 1, []string{"lun", "show", "nothing"}},
		{"lun-create", 1, []string{"lun", "create", "b", "--size", "64M"}},
		{"lun-extend", 1, []string{"lun", "extend", "b", "--size", "1M"}},
		{"lun-mount", 1, []string{"lun", "mount", "b", missing}},
		{"lun-format", 1, []string{"lun", "format", "b", "--fs", "ext4"}},
		{"restore", 1, []string{"restore", "--bc", missing, "--wm", missing, "--", "true"}},
		{"exec", 125, []string{"exec", missing, "--", "true"}},
		{"usage-none", 2, []string{"create"}},
		{"usage-flag", 2, []string{"list", "shadows", "--such"}},
		{"usage-command", 2, []string{"such"}},
		{"usage-size", 2, []string{"lun", "create", "c", "--size", "much"}},
		{"usage-context", 2, []string{"create", "--context", "such", j.point}},
		{"usage-id", 2, []string{"show", "such"}},
		{"usage-together", 2, []string{"create", "--plex", "--differential", j.point}},
	} {
		j.run("fails-"+c.name, c.code, c.args...)
	}
	j.run("events", 0, "events")
	j.run("events-since", 0, "events", "--since", "1h")
}

// notJSON are the commands that print no document of their own; TestDemo compares the demo's.
var notJSON = []string{"completion", "help", "demo"}

// complete checks that each command was run.
func (j *jsonScript) complete() {
	j.Helper()
	var walk func(path []string)
	walk = func(path []string) {
		r := j.try(append(slices.Clone(path), "--help")...)
		_, list, ok := strings.Cut(string(r.stdout), "Available Commands:\n")
		if !ok {
			if name := strings.Join(path, " "); !j.ran[name] {
				j.Errorf("no document of vss %s was compared", name)
			}
			return
		}
		for line := range strings.Lines(list) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if name == "" {
				return
			}
			if len(path) > 0 || !slices.Contains(notJSON, name) {
				walk(append(slices.Clone(path), name))
			}
		}
	}
	walk(nil)
	if len(j.ran) < 20 {
		j.Errorf("%d commands: this proves little", len(j.ran))
	}
}
