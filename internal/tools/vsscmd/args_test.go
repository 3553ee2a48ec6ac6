package vsscmd

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestRequests checks what the arguments of a command ask of the service.
func TestRequests(t *testing.T) {
	hidden, readOnly := uint32(vss.FlagHidden), uint32(vss.FlagReadOnly)
	for line, want := range map[string]proto.Message{
		"lun create data --size 2G": &vssv1.CreateLunRequest{Name: "data", Size: 2 << 30},
		"lun create data --size 512M --array san1 --pool p --masked": &vssv1.CreateLunRequest{
			Name: "data", Size: 512 << 20, Array: "san1", Pool: "p", Masked: true,
		},
		"lun show /dev/loop3":      &vssv1.LunRequest{Lun: "/dev/loop3"},
		"lun format data --fs xfs": &vssv1.FormatLunRequest{Lun: "data", FileSystem: "xfs", Style: "gpt"},
		"lun format data --fs ext4 --mbr --label l": &vssv1.FormatLunRequest{
			Lun: "data", FileSystem: "ext4", Style: "mbr", Label: "l",
		},
		"lun format data --fs btrfs --whole-disk": &vssv1.FormatLunRequest{Lun: "data", FileSystem: "btrfs",
			Style: "none"},
		"lun mask data":                    &vssv1.MaskLunRequest{Lun: "data"},
		"lun mask data --from db2 --force": &vssv1.MaskLunRequest{Lun: "data", Host: "db2", Force: true},
		"lun unmask data --to db2":         &vssv1.UnmaskLunRequest{Lun: "data", Host: "db2"},
		"lun set data --read-only":         &vssv1.SetLunReadOnlyRequest{Lun: "data", ReadOnly: true},
		"lun set data --read-write":        &vssv1.SetLunReadOnlyRequest{Lun: "data"},
		"lun mount data /srv/data":         &vssv1.MountLunRequest{Lun: "data", Path: "/srv/data"},
		"lun mount data:2 /srv/./data/ --persist": &vssv1.MountLunRequest{Lun: "data", Partition: 2,
			Path: "/srv/data", Persist: true},
		"lun unmount data:2":          &vssv1.UnmountLunRequest{Lun: "data", Partition: 2},
		"lun flags data --set hidden": &vssv1.ChangeLunFlagsRequest{Lun: "data", Set: hidden},
		"lun flags data:1 --set hidden --clear read-only": &vssv1.ChangeLunFlagsRequest{
			Lun: "data", Partition: 1, Set: hidden, Clear: readOnly,
		},
		"lun flags data":            &vssv1.LunRequest{Lun: "data"},
		"lun rename data old":       &vssv1.RenameLunRequest{Lun: "data", Name: "old"},
		"lun extend data --size 4G": &vssv1.ExtendLunRequest{Lun: "data", Size: 4 << 30},
		"lun delete data":           &vssv1.DeleteLunRequest{Lun: "data"},
		"lun delete data --force":   &vssv1.DeleteLunRequest{Lun: "data", Force: true},
		"lun rescan":                &vssv1.RescanLunsRequest{},
	} {
		t.Run(line, func(t *testing.T) {
			w := serve(t)
			code, out, diag := w.vss(t, append(strings.Fields(line), "--json")...)
			if code != 0 || !json.Valid([]byte(out)) {
				t.Fatalf("exit %d, %q, %s", code, out, diag)
			}
			if len(w.calls) != 1 {
				t.Fatalf("calls %v", w.calls)
			}
			if d := cmp.Diff(want, w.last[w.calls[0]], protocmp.Transform()); d != "" {
				t.Errorf("%s (-want +got):\n%s", w.calls[0], d)
			}
			if code, out, _ := w.vss(t, strings.Fields(line)...); code != 0 || !strings.Contains(out, "data") {
				t.Errorf("as a table: exit %d, %q", code, out)
			}
		})
	}
}

// TestContextFlags checks which context the flags of create select.
func TestContextFlags(t *testing.T) {
	for flags, want := range map[string]vss.Context{
		"":                       vss.ContextAppRollback,
		"--no-writers":           vss.ContextNASRollback,
		"--plex":                 vss.ContextAppRollback | vss.AttrPlex,
		"--differential":         vss.ContextAppRollback | vss.AttrDifferential,
		"--rollback-recovery":    vss.ContextAppRollback | vss.AttrRollbackRecovery,
		"--no-autorecovery":      vss.ContextAppRollback | vss.AttrNoAutoRecovery,
		"--transportable":        vss.ContextAppRollback | vss.AttrTransportable,
		"--context nas-rollback": vss.ContextNASRollback,
		"--context NAS-ROLLBACK": vss.ContextNASRollback,
		"--context backup --plex --wait-for-enter":         vss.ContextBackup | vss.AttrPlex,
		"--context backup --no-writers --wait-for-enter":   vss.ContextFileShareBackup,
		"--context file-share-backup --wait-for-enter":     vss.ContextFileShareBackup,
		"--context client-accessible-writers --no-writers": vss.ContextClientAccessible,
		"--context client-accessible-writers":              vss.ContextClientAccessibleWriters,
	} {
		t.Run(flags, func(t *testing.T) {
			w := serve(t)
			line := append([]string{"create"}, strings.Fields(flags)...)
			if code, _, diag := w.vss(t, append(line, "/srv/data")...); code != 0 {
				t.Fatalf("exit %d: %s", code, diag)
			}
			if c := vss.Context(w.last["SetContext"].(*vssv1.SetContextRequest).GetContext()); c != want {
				t.Errorf("context %#x, want %#x", c, want)
			}
		})
	}
}

// TestWriterFlags checks that --writer-include and --writer-exclude reach the service, and the type of the backup.
func TestWriterFlags(t *testing.T) {
	w := serve(t)
	line := "create --context backup --wait-for-enter --writer-include db --writer-include log --writer-exclude " +
		writerID
	if code, _, diag := w.vss(t, append(strings.Fields(line), "/srv/data")...); code != 0 {
		t.Fatalf("exit %d: %s", code, diag)
	}
	for method, want := range map[string][]string{
		"EnableWriterClasses": {"db", "log"}, "DisableWriterClasses": {writerID},
	} {
		if d := cmp.Diff(want, w.last[method].(*vssv1.WriterSelection).GetIds()); d != "" {
			t.Errorf("%s (-want +got):\n%s", method, d)
		}
	}
	if b := w.last["SetBackupState"].(*vssv1.SetBackupStateRequest).GetBackupType(); b != int32(vss.BackupFull) {
		t.Errorf("backup type %d", b)
	}
}

func TestBackupUsage(t *testing.T) {
	w := &world{run: t.TempDir()}
	for name, line := range map[string]string{
		"without a command":        "backup --bc a --wm b /srv/data",
		"without documents":        "backup /srv/data -- true",
		"without metadata":         "backup --bc a /srv/data -- true",
		"without writers":          "backup --bc a --wm b --no-writers /srv/data -- true",
		"transportable":            "backup --bc a --wm b --transportable /srv/data -- true",
		"another context":          "backup --bc a --wm b --context app-rollback /srv/data -- true",
		"an unknown type":          "backup --bc a --wm b --type weekly /srv/data -- true",
		"restore without backup":   "restore -- true",
		"restore without command":  "restore --bc a",
		"restore with an argument": "restore --bc a /srv/data -- true",
	} {
		if code, out, diag := w.vss(t, strings.Fields(line)...); code != cli.ExitUsage || out != "" ||
			!strings.Contains(diag, "hint:") {
			t.Errorf("%s: exit %d, %q, %s", name, code, out, diag)
		}
	}
	// The hold limit is an argument of the service, so its error is the tool's own failure.
	if code, _, diag := w.vss(t, "exec", "--hold-limit", "0s", "/srv/data", "--", "true"); code != cli.ExitTool {
		t.Errorf("exit %d: %s", code, diag)
	}
	code, _, diag := w.vss(t, "restore", "--bc", "/no/such/file", "--", "true")
	if code != cli.ExitFailed || !strings.Contains(diag, "VSS_E_OBJECT_NOT_FOUND") {
		t.Errorf("exit %d: %s", code, diag)
	}
}

func TestCompletion(t *testing.T) {
	w := &world{run: t.TempDir()}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, diag := w.vss(t, "completion", shell); code != 0 || !strings.Contains(out, "vss") {
			t.Errorf("%s: exit %d, %d bytes, %s", shell, code, len(out), diag)
		}
	}
	if code, out, _ := w.vss(t, "__complete", "lun", "ma"); code != 0 || !strings.HasPrefix(out, "mask") {
		t.Errorf("exit %d: %q", code, out)
	}
}
