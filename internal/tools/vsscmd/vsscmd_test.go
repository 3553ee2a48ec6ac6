package vsscmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestLUNNames(t *testing.T) {
	for in, want := range map[string]struct {
		lun  string
		part int
		bad  bool
	}{
		"data": {"data", 0, false}, "data:2": {"data", 2, false}, "/dev/loop3": {"/dev/loop3", 0, false},
		lunID + ":1": {lunID, 1, false},
		"":           {bad: true}, ":1": {bad: true}, "data:": {bad: true}, "data:0": {bad: true},
		"data:x":  {bad: true},
		"data:-1": {bad: true},
	} {
		lun, part, err := parseLUN(in)
		if (err != nil) != want.bad || err == nil && (lun != want.lun || part != want.part) {
			t.Errorf("%q: %q, %d, %v", in, lun, part, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for name, line := range map[string]string{
		"nothing": "", "no such command": "destroy", "no such flag": "list shadows --bogus", "group alone": "list",
		"no such member":        "list bogus",
		"create without volume": "create", "create without command": "create /x --",
		"backup alone":            "create --context backup /x",
		"file share backup alone": "create --context file-share-backup /x",
		"backup without writers":  "create --context backup --no-writers /x",
		"no such context":         "create --context weekly /x", "both methods": "create --differential --plex /x",
		"client-accessible and transportable": "create --context client-accessible --transportable /x",
		"require crash":                       "create --require crash /x",
		"application without writers":         "create --no-writers --require application /x",
		"include without writers":             "create --no-writers --writer-include db /x",
		"wait for less than nothing":          "create --wait -1s /x", "wait for what": "create --wait soon /x",
		"exec without command": "exec /x", "exec transportable": "exec --transportable /x -- true",
		"exec without volume": "exec -- true",
		"show nothing":        "show", "show what": "show abc",
		"show zero":   "show {00000000-0000-0000-0000-000000000000}",
		"show two":    "show " + copyID + " " + copyID,
		"import what": "import", "expose where": "expose " + copyID, "expose what": "expose /a /b",
		"unexpose what": "unexpose",
		"break what":    "break", "break by name": "break data", "mask and write": "break --mask --read-write " + setID,
		"revert and keep": "break --revert-identity --keep-identity " + setID,
		"delete what":     "delete", "delete two ways": "delete --all " + copyID,
		"delete all and oldest": "delete --all --oldest /x", "delete by name": "delete abc",
		"list set": "list shadows --set abc", "list too much": "list shadows x",
		"events since":     "events --since yesterday",
		"lun without size": "lun create data", "lun bad size": "lun create data --size 2X",
		"lun format without fs": "lun format data", "lun format fs": "lun format data --fs ntfs",
		"lun format twice": "lun format data --fs xfs --gpt --mbr", "lun set neither": "lun set data",
		"lun set both":    "lun set data --read-only --read-write",
		"lun mount where": "lun mount data", "lun flag": "lun flags data --set bold",
		"lun flag both":      "lun flags data --set hidden --clear hidden",
		"lun of a partition": "lun delete data:1", "lun no part": "lun mount data:x /y",
		"lun extend": "lun extend data", "completion": "completion tcsh",
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{run: filepath.Join(t.TempDir(), "nobody")} // usage errors are found without a service
			code, out, diag := w.vss(t, strings.Fields(line)...)
			if code != cli.ExitUsage || out != "" || !strings.HasPrefix(diag, "vss: ") ||
				!strings.Contains(diag, "hint:") {
				t.Errorf("exit %d, stdout %q, stderr %q", code, out, diag)
			}
			// --json after the command, as scripts have it, but before --.
			code, out, _ = w.vss(t, append([]string{"--json"}, strings.Fields(line)...)...)
			var doc map[string]cli.Failure
			if err := json.Unmarshal([]byte(out), &doc); err != nil || code != cli.ExitUsage {
				t.Fatalf("exit %d, %v: %q", code, err, out)
			}
			if f := doc["error"]; f.Result != "E_INVALIDARG" || f.HRESULT != "0x80070057" || f.Message == "" ||
				f.Hint == "" {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestJSONAfterCommandOnly(t *testing.T) {
	w := serve(t)
	if code, out, _ := w.vss(t, "list", "bogus", "--json"); code != cli.ExitUsage || !json.Valid([]byte(out)) {
		t.Errorf("behind the command: %d, %q", code, out)
	}
	if _, out, _ := w.vss(t, "create", "/srv/data", "--", "true", "--json"); json.Valid([]byte(out)) {
		t.Errorf("--json of CMD was used: %q", out)
	}
}

func TestCreate(t *testing.T) {
	w := serve(t)
	bc := filepath.Join(t.TempDir(), "set.xml")
	code, out, diag := w.vss(t, "create", "--json", "--bc", bc, "--provider", "lun", "--plex", "--hold-limit", "3s",
		"/srv/data", "/srv/log")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, diag)
	}
	want := []string{
		"OpenSession", "InitializeForBackup", "SetContext", "GatherWriterMetadata", "SetBackupState",
		"StartSnapshotSet", "AddToSnapshotSet", "AddToSnapshotSet",
		"PrepareForBackup", "DoSnapshotSet", "GatherWriterStatus", "GetWriterStatus", "GetSnapshotSet", "SaveAsXML",
		"BackupComplete", "GatherWriterStatus",
	}
	if d := cmp.Diff(want, w.calls); d != "" {
		t.Errorf("sequence (-want +got):\n%s", d)
	}
	if c := vss.Context(w.last["SetContext"].(*vssv1.SetContextRequest).
		GetContext()); c != vss.ContextAppRollback|vss.AttrPlex {
		t.Errorf("context %#x", c)
	}
	if ms := w.last["DoSnapshotSet"].(*vssv1.DoSnapshotSetRequest).GetHoldLimitMs(); ms != 3000 {
		t.Errorf("hold limit %d ms", ms)
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	keys(t, "set", doc, "set_id", "context", "attributes", "created", "hold_ms", "writer_window_ms", "consistency",
		"shadow_copies", "writers", "timeline")
	keys(t, "copy", doc["shadow_copies"].([]any)[0], "id", "set_id", "state", "original_volume", "device_object",
		"path", "provider_id", "provider_name", "context",
		"attributes", "created", "exposed_at", "originating_machine", "service_machine", "luns", "consistency")
	keys(t, "writer", doc["writers"].([]any)[0], "name", "id", "instance_id", "state", "state_code", "last_error",
		"last_error_code", "level", "frozen_ms", "components")
	keys(t, "step", doc["timeline"].([]any)[0], "step", "start_ms", "end_ms")
	if doc["set_id"] != setID || doc["context"] != "app-rollback" || doc["hold_ms"] != 12.5 {
		t.Errorf("%v", doc)
	}
	text, err := os.ReadFile(bc)
	if info, serr := os.Stat(bc); err != nil || serr != nil || string(text) != "<document/>" ||
		info.Mode().Perm() != 0o600 {
		t.Errorf("document %q, %v, %v", text, err, serr)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(bc), ".*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func keys(t *testing.T, what string, of any, names ...string) {
	t.Helper()
	for _, n := range names {
		if v, ok := of.(map[string]any)[n]; !ok || v == nil {
			t.Errorf("%s: field %s is %v", what, n, v)
		}
	}
}

func TestCreateWithoutWriters(t *testing.T) {
	w := serve(t)
	w.set.Context = uint32(vss.ContextNASRollback)
	if code, _, diag := w.vss(t, "create", "--no-writers", "/srv/data"); code != 0 {
		t.Fatalf("exit %d: %s", code, diag)
	}
	if c := vss.Context(w.last["SetContext"].(*vssv1.SetContextRequest).GetContext()); c != vss.ContextNASRollback {
		t.Errorf("context %#x", c)
	}
	for _, m := range []string{"GatherWriterMetadata", "SetBackupState", "PrepareForBackup", "BackupComplete",
		"GatherWriterStatus"} {
		if w.was(m) {
			t.Errorf("%s was called", m)
		}
	}
}

func TestCreateCommand(t *testing.T) {
	w := serve(t)
	w.mount = "/copy" // isn't mounted here: storage 01
	if code, _, diag := w.vss(t, "create", "/srv/data", "--", "true"); code != 1 || !strings.Contains(diag, "/copy") {
		t.Errorf("exit %d: %s", code, diag)
	}
	w.mount = "/proc"
	code, out, diag := w.vss(t, "create", "--json", "--context", "backup", "/srv/data", "--", "sh", "-c",
		"echo $VSS_SHADOW_SET $VSS_SHADOW_1 $VSS_SHADOW_PATH_1; exit 7")
	if code != 7 || !json.Valid([]byte(out)) || diag != setID+" "+copyID+" /proc\n" {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, diag)
	}
	if !w.was("AbortBackup") || w.was("BackupComplete") {
		t.Errorf("the backup is complete though the command failed: %v", w.calls)
	}
	for command, want := range map[string]int{"kill -TERM $$": 128 + 15, "exit 0": 0} {
		if code, _, _ := w.vss(t, "create", "/srv/data", "--", "sh", "-c", command); code != want {
			t.Errorf("%s: exit %d, want %d", command, code, want)
		}
	}
	if code, _, _ := w.vss(t, "create", "/srv/data", "--", "no-such-program-anywhere"); code != cli.ExitMissing {
		t.Errorf("exit %d", code)
	}
	if code, _, _ := w.vss(t, "create", "/srv/data", "--", "/etc/passwd"); code != cli.ExitNotRun {
		t.Errorf("exit %d", code)
	}
	if code, _, diag := w.vss(t, "create", "--context", "backup", "--wait-for-enter", "/srv/data"); code != 0 {
		t.Errorf("exit %d: %s", code, diag)
	}
}

// users D: standard output of create -- CMD is for CMD.
func TestCreateCommandOutput(t *testing.T) {
	w := serve(t)
	code, out, diag := w.vss(t, "create", "/srv/data", "--", "echo", "archive")
	if code != 0 || out != "archive\n" || !strings.Contains(diag, setID) {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, diag)
	}
}

// users E: a relative name is a path of the caller, and a folder in a volume isn't the volume.
func TestVolumeNames(t *testing.T) {
	w := serve(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("data", 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, diag := w.vss(t, "create", "data")
	if code != 1 || !strings.Contains(diag, "E_INVALIDARG") || !strings.Contains(diag, "--volume-of") ||
		w.was("AddToSnapshotSet") {
		t.Errorf("a folder: exit %d: %s", code, diag)
	}
	for name, want := range map[string]string{
		"data": filepath.Join(dir, "data"), ".": dir, "UUID=1-2": "UUID=1-2", "P:": "P:", "/srv/data": "/srv/data",
	} {
		if code, _, diag := w.vss(t, "create", "--volume-of", name); code != 0 {
			t.Fatalf("%s: exit %d: %s", name, code, diag)
		}
		if q := w.last["AddToSnapshotSet"].(*vssv1.AddToSnapshotSetRequest); q.GetVolume() != want {
			t.Errorf("%s: the service gets %q, want %q", name, q.GetVolume(), want)
		}
	}
}

// users C: exec isn't silent about a writer that failed.
func TestExecRequiresWriters(t *testing.T) {
	w := serve(t)
	w.set.Consistency, w.set.ConsistencyReason = "file-system", "no writer has data on /srv/data"
	w.set.Context = uint32(vss.ContextBackup)
	code, _, diag := w.vss(t, "exec", "--report", "/dev/null/x", "/srv/data", "--", "true")
	if code != cli.ExitTool || !strings.Contains(diag, "/dev/null/x") || w.was("DeleteSnapshots") {
		t.Errorf("without a writer with data there: exit %d: %s", code, diag) // and the report can't be written
	}
	w.set.ConsistencyReason = "writer db is failed at freeze"
	w.set.Writers[0].Failure, w.set.Writers[0].Message = vss.ErrWriterErrorTimeout.HRESULT(), "too slow"
	code, _, diag = w.vss(t, "exec", "/srv/data", "--", "true")
	if code != cli.ExitTool || !strings.Contains(diag, "too slow") || !w.was("DeleteSnapshots") {
		t.Errorf("exit %d: %s", code, diag)
	}
}

func TestCreateFails(t *testing.T) {
	w := serve(t)
	w.fail["wait DoSnapshotSet"] = vss.E("DoSnapshotSet", vss.ErrHoldWritesTimeout, errBoom).On("/srv/data").
		Advise("wait")
	code, out, _ := w.vss(t, "--json", "create", "/srv/data")
	want := `{"error":{"result":"VSS_E_HOLD_WRITES_TIMEOUT","hresult":"0x80042314",` +
		`"message":"DoSnapshotSet /srv/data: ` + vss.ErrHoldWritesTimeout.Text() + `","cause":"boom","hint":"wait"}}`
	if got := compact(out); code != 1 || got != want {
		t.Errorf("exit %d\n got %s\nwant %s", code, got, want)
	}
	if !w.was("AbortBackup") {
		t.Error("not aborted")
	}
}

func compact(s string) string {
	var v json.RawMessage
	if json.Unmarshal([]byte(s), &v) != nil {
		return s
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func TestHoldLimitZero(t *testing.T) {
	w := serve(t)
	code, out, _ := w.vss(t, "--json", "create", "--hold-limit", "0s", "/srv/data")
	if code != 1 || !strings.Contains(out, "E_INVALIDARG") || w.was("DoSnapshotSet") {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestRequire(t *testing.T) {
	w := serve(t)
	w.set.Consistency, w.set.ConsistencyReason = "file-system", "writer db failed"
	w.set.Writers[0].State, w.set.Writers[0].Failure, w.set.Writers[0].Message = int32(vss.WriterFailedAtFreeze),
		vss.ErrWriterErrorTimeout.HRESULT(), "too slow"
	if code, _, diag := w.vss(t, "create", "--require", "file-system", "/srv/data"); code != 0 {
		t.Fatalf("exit %d: %s", code, diag)
	}
	code, out, _ := w.vss(t, "create", "--json", "--require", "application", "/srv/data")
	if code != 1 || !strings.Contains(out, vss.ErrWriterErrorTimeout.Name()) || !strings.Contains(out, "db") ||
		!strings.Contains(out, "too slow") {
		t.Errorf("exit %d: %s", code, out)
	}
	if q, ok := w.last["DeleteSnapshots"].(*vssv1.DeleteSnapshotsRequest); !ok || q.GetId() != setID {
		t.Error("the set was not deleted")
	}
}

func TestWait(t *testing.T) {
	w := serve(t)
	w.busy = 1
	if code, _, diag := w.vss(t, "create", "/srv/data"); code != 1 ||
		!strings.Contains(diag, "VSS_E_SNAPSHOT_SET_IN_PROGRESS") {
		t.Errorf("exit %d: %s", code, diag)
	}
	w.busy = 2
	if code, _, diag := w.vss(t, "create", "--wait", "10s", "/srv/data"); code != 0 {
		t.Errorf("exit %d: %s", code, diag)
	}
}

func TestCommands(t *testing.T) {
	w := serve(t)
	w.copies[1].ExposedAt = "/mnt/old"
	for line, want := range map[string]string{
		"list shadows":                      `"id":"` + copyID + `"`,
		"list shadows --volume /srv/data/x": `"id":"` + copyID + `"`,
		"list shadows --volume uuid=ABC":    `"id":"` + copyID + `"`,
		"list shadows --volume /srv/log":    `[]`,
		"list shadows --set " + copyID:      `[]`,
		"list writers":                      `"state":"stable","state_code":1`,
		"list providers":                    `"type":"hardware","version":"1","capabilities":[]`,
		"list volumes": `"mount_points":["/srv/data"],"luns":[],` +
			`"providers":["lun"],"supported":true`,
		"show 22222222-0000-4000-8000-000000000001": `"id":"` + copyID + `"`,
		"show " + setID:                `"timeline":[`,
		"expose " + copyID + " /mnt/y": `{"id":"` + copyID + `","exposed_at":"/mnt/y"}`,
		"unexpose " + copyID:           `{"id":"` + copyID + `","exposed_at":""}`,
		"unexpose /mnt/old/":           `{"id":"` + copy2ID + `","exposed_at":""}`,
		"break --read-write " + setID: `{"set_id":"` + setID + `","luns":[{"lun":"` + lunID +
			`","original_volume":"/srv/data","device":"/dev/loop7",` +
			`"read_write":true,"masked":false,"identity":"kept"}]}`,
		"delete " + copyID: `{"deleted":["` + copyID + `"]}`,
		"doctor":           `{"ok":true,"findings":[]}`,
		"array list": `[{"name":"local","address":"",` +
			`"pools":[{"name":"main","type":"reflink","size":10,"free":5}],"targets":["loop"]}]`,
		"lun list": `[]`,
		"lun create data --size 2G": `"vpd83":"naa.6","kind":"plain","origin":"","method":"",` +
			`"complete_percent":100,"mapped_to":["db1"],"device":"/dev/loop3","read_only":false,"disk":{"style":"gpt"`,
		"lun format data --fs xfs":                `"flags":["read-only"]`,
		"lun flags data":                          `"name":"data"`,
		"lun flags data:1 --set hidden,read-only": `"name":"data"`,
		"version": `"go":"go`,
	} {
		t.Run(line, func(t *testing.T) {
			code, out, diag := w.vss(t, append(strings.Fields(line), "--json")...)
			if code != 0 || !strings.Contains(compact(out), want) {
				t.Errorf("exit %d, %s\nstdout %s\nwant %s", code, diag, compact(out), want)
			}
			if code, out, diag := w.vss(t, strings.Fields(line)...); code != 0 || out == "" {
				t.Errorf("without --json: exit %d, %q, %s", code, out, diag)
			}
		})
	}
	if q := w.last["ChangeLunFlags"].(*vssv1.ChangeLunFlagsRequest); q.GetPartition() != 1 ||
		q.GetSet() != uint32(vss.FlagHidden|vss.FlagReadOnly) || q.GetClear() != 0 {
		t.Errorf("flags: %v", q)
	}
}

func TestDeleteOldestAndPartly(t *testing.T) {
	w := serve(t)
	if code, out, _ := w.vss(t, "delete", "--oldest", "/srv/data"); code != 0 || !strings.Contains(out, copyID) {
		t.Errorf("exit %d: %s", code, out)
	}
	if q := w.last["DeleteSnapshots"].(*vssv1.DeleteSnapshotsRequest); q.GetId() != copyID {
		t.Errorf("deleted %s, want the oldest", q.GetId())
	}
	if code, out, _ := w.vss(t, "--json", "delete", "--volume", "/srv/nothing"); code != 1 ||
		!strings.Contains(out, "VSS_E_OBJECT_NOT_FOUND") {
		t.Errorf("exit %d: %s", code, out)
	}
	w.deletes = &vssv1.DeleteSnapshotsReply{Deleted: []string{copyID}, NotDeleted: copy2ID,
		Error: wire.MarshalError(vss.E("DeleteSnapshots", vss.ErrVolumeInUse, nil).On("/mnt"))}
	code, out, _ := w.vss(t, "--json", "delete", setID)
	var doc struct {
		Error      cli.Failure
		Deleted    []string
		NotDeleted string `json:"not_deleted"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 1 ||
		doc.Error.Result != vss.ErrVolumeInUse.Name() || doc.NotDeleted != copy2ID ||
		!slices.Equal(doc.Deleted, []string{copyID}) {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
	w.copies = nil
	if code, out, _ := w.vss(t, "--json", "delete", "--all"); code != 0 || compact(out) != `{"deleted":[]}` {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestErrorsOfTheService(t *testing.T) {
	w := serve(t)
	w.fail["DeleteLun"] = vss.E("Delete", vss.VDSErrDeviceInUse, nil).On("data").Advise("unmount it")
	code, out, _ := w.vss(t, "--json", "lun", "delete", "data")
	if code != 1 || !strings.Contains(compact(out),
		`"result":"VDS_E_DEVICE_IN_USE","hresult":"0x80042413","facility":"vds"`) {
		t.Errorf("exit %d: %s", code, out)
	}
	_, _, diag := w.vss(t, "lun", "delete", "data")
	for _, want := range []string{"VDS_E_DEVICE_IN_USE (0x80042413)", "hint:   unmount it"} {
		if !strings.Contains(diag, want) {
			t.Errorf("%q isn't in %q", want, diag)
		}
	}
	w.findings = []*vssv1.Finding{{Severity: "error", What: "a LUN is gone", Hint: "delete the copy"}}
	if code, out, _ := w.vss(t, "doctor", "--json"); code != 1 || !strings.Contains(compact(out), `"ok":false`) {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, out, _ := w.vss(t, "events", "--json"); code != 0 || strings.Count(out, "\n") != 2 ||
		!json.Valid([]byte(strings.SplitAfter(out, "\n")[0])) {
		t.Errorf("exit %d: %q", code, out)
	}
}

func TestNoService(t *testing.T) {
	w := &world{run: filepath.Join(t.TempDir(), "nobody")}
	code, out, _ := w.vss(t, "--json", "list", "shadows")
	var doc map[string]cli.Failure
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 1 || doc["error"].Hint == "" {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}
