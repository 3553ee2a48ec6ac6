package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func newTool() (t *Tool, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &Tool{Name: "tool", Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr}, stdout, stderr
}

// documented is an error with a document of its own.
type documented struct{ error }

func (documented) Document() any { return map[string]int{"left": 1} }

func TestFinish(t *testing.T) {
	full := vss.E("CreateSnapshotSet", vss.ErrInsufficientStorage, errors.New("the pool is full")).On("/srv/data").
		Advise("delete a copy")
	for name, c := range map[string]struct {
		err    error
		exit   int // set by the command
		want   int
		text   string
		result string // JSON
	}{
		"success":               {nil, 0, ExitDone, "", ""},
		"success with a status": {nil, 7, 7, "", ""},
		"usage": {Usagef("see help", "invalid size %q", "x"), 0, ExitUsage,
			"tool: invalid size \"x\"\n  hint:   see help\n", "E_INVALIDARG"},
		"usage, wrapped": {fmt.Errorf("a: %w", Usagef("", "b")), ExitTool, ExitUsage, "tool: b\n",
			"E_INVALIDARG"},
		"failure": {full, 0, ExitFailed, "tool: CreateSnapshotSet /srv/data: " +
			vss.ErrInsufficientStorage.Text() + "\n  result: VSS_E_INSUFFICIENT_STORAGE (0x8004231f)\n" +
			"  cause:  the pool is full\n  hint:   delete a copy\n",
			"VSS_E_INSUFFICIENT_STORAGE"},
		"failure with a status": {full, ExitTool, ExitTool, "tool: CreateSnapshotSet", "VSS_E_INSUFFICIENT_STORAGE"},
		"an error without code": {errors.New("boom"), 0, ExitFailed,
			"tool: boom\n  result: VSS_E_UNEXPECTED (0x80042302)\n", "VSS_E_UNEXPECTED"},
		"cancelled": {vss.E("Wait", vss.SuccessAsyncCancelled, context.Canceled), 0, ExitFailed,
			"nothing was left behind", "VSS_S_ASYNC_CANCELLED"},
		"an error of the arrays": {vss.E("Delete", vss.VDSErrDeviceInUse, nil), 0, ExitFailed, "VDS_E_DEVICE_IN_USE",
			"VDS_E_DEVICE_IN_USE"},
	} {
		t.Run(name, func(t *testing.T) {
			tool, stdout, stderr := newTool()
			tool.Exit = c.exit
			if got := tool.Finish(c.err); got != c.want {
				t.Errorf("exit %d, want %d", got, c.want)
			}
			if stdout.Len() > 0 || !strings.Contains(stderr.String(), c.text) || c.err == nil && stderr.Len() > 0 {
				t.Errorf("stdout %q, stderr %q, want %q", stdout, stderr, c.text)
			}

			tool, stdout, stderr = newTool()
			tool.JSON, tool.Exit = true, c.exit
			if got := tool.Finish(c.err); got != c.want || stderr.Len() > 0 {
				t.Errorf("exit %d, want %d; stderr %q", got, c.want, stderr)
			}
			if c.err == nil {
				if stdout.Len() > 0 {
					t.Errorf("stdout %q", stdout)
				}
				return
			}
			var doc struct{ Error Failure }
			if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil || doc.Error.Result != c.result {
				t.Errorf("%v, %q, want %s", err, stdout, c.result)
			}
			if f := doc.Error; f.Message == "" || !strings.HasPrefix(f.HRESULT, "0x") || len(f.HRESULT) != 10 {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestErrorFields(t *testing.T) {
	tool, stdout, _ := newTool()
	tool.JSON = true
	tool.PrintError(vss.E("Delete", vss.VDSErrDeviceInUse, errors.New("<mounted>")).On("data").Advise("unmount it"))
	var doc map[string]map[string]string
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"result": "VDS_E_DEVICE_IN_USE", "hresult": "0x80042413", "facility": "vds",
		"message": "Delete data: " + vss.VDSErrDeviceInUse.Text(), "cause": "<mounted>", "hint": "unmount it",
	}
	if got := doc["error"]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if !strings.Contains(stdout.String(), "<mounted>") {
		t.Errorf("escaped: %s", stdout)
	}

	tool, stdout, _ = newTool()
	tool.JSON = true
	if code := tool.Finish(documented{errors.New("boom")}); code != ExitFailed {
		t.Errorf("exit %d", code)
	}
	if got := strings.Join(strings.Fields(stdout.String()), ""); got != `{"left":1}` {
		t.Errorf("%s", got)
	}
}

// closed is a standard output that was closed.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestClosedOutput(t *testing.T) {
	tool, _, _ := newTool()
	tool.Stdout = closed{}
	tool.PrintJSON("x")
	if code := tool.Finish(nil); code != ExitFailed {
		t.Errorf("exit %d for a document that was not written", code)
	}
}

func TestTable(t *testing.T) {
	tool, stdout, _ := newTool()
	tool.Table("none", []string{"NAME", "SIZE"}, [][]string{{"data", "1"}, {"a long name", Dash("")}})
	if want := "NAME         SIZE\ndata         1\na long name  -\n"; stdout.String() != want {
		t.Errorf("%q\nwant %q", stdout, want)
	}
	stdout.Reset()
	tool.Table("There are none.", []string{"NAME"}, nil)
	if stdout.String() != "There are none.\n" {
		t.Errorf("%q", stdout)
	}
}

func TestPrintSet(t *testing.T) {
	tool, stdout, _ := newTool()
	tool.PrintSet(requester.SnapshotSet{
		Context: vss.ContextAppRollback, Consistency: "crash", ConsistencyReason: "a writer failed",
		Hold: 12500 * time.Microsecond, Snapshots: []requester.Snapshot{{OriginalVolume: "/srv/data"}},
		Writers: []requester.WriterStatus{{Name: "db", Failure: vss.ErrWriterErrorTimeout, Message: "too slow"}},
		Timeline: []requester.Step{{Name: "hold", End: time.Second},
			{Name: "thaw", Start: time.Second, End: time.Second}},
	})
	for _, want := range []string{
		"app-rollback, crash consistent\n  a writer failed\n", "held for 12.5 ms", "/srv/data",
		vss.ErrWriterErrorTimeout.Name() + ": too slow", "|########################################|", "#|\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q isn't in\n%s", want, stdout)
		}
	}
	stdout.Reset()
	tool.PrintSet(requester.SnapshotSet{Consistency: "application"}) // imported
	if strings.Contains(stdout.String(), "held") || strings.Contains(stdout.String(), "STEP") {
		t.Errorf("an imported set has no times:\n%s", stdout)
	}
}

func TestShapesAreNeverNull(t *testing.T) {
	for name, v := range map[string]any{
		"copy": NewCopy(requester.Snapshot{}), "set": NewSet(requester.SnapshotSet{}),
		"writer":   NewWriter(requester.WriterStatus{}),
		"provider": NewProvider(requester.Provider{}), "volume": NewVolume(requester.Volume{}),
		"broken": NewBroken(vss.SnapshotSetID{}, nil),
	} {
		b, err := json.Marshal(v)
		if err != nil || bytes.Contains(b, []byte("null")) {
			t.Errorf("%s: %v, %s", name, err, b)
		}
	}
}

func TestIDs(t *testing.T) {
	const plain = "6a1f8c1e-3b52-4b6e-9a53-1c8f0f2f7a10"
	for _, in := range []string{plain, "{" + plain + "}", strings.ToUpper(plain)} {
		if g, err := ParseID("copy", in); err != nil || g.Plain() != plain {
			t.Errorf("%q: %v, %v", in, g, err)
		}
	}
	for _, in := range []string{"", "abc", "{00000000-0000-0000-0000-000000000000}", plain + "0"} {
		_, err := ParseID("copy", in)
		var u *UsageError
		if !errors.As(err, &u) || !strings.Contains(u.Text, "of a copy") || u.Hint == "" {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1023: "1023", 1024: "1.0K", 1536: "1.5K", 2 << 30: "2.0G",
		1<<63 - 1: "8.0E"} {
		if got := HumanSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestCodes(t *testing.T) {
	for in, want := range map[string]vss.Code{
		"VSS_E_BAD_STATE": vss.ErrBadState, "0x80042301": vss.ErrBadState, "0": vss.OK,
	} {
		if got, err := ParseCode(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "VSS_E_NONESUCH", "-1", "0x100000000"} {
		if got, err := ParseCode(in); err == nil {
			t.Errorf("%q is %v", in, got)
		}
	}
}

// TestCopiesOfVolume: a name means the volume that is there now, not a former one (storage 11, spec 5).
func TestCopiesOfVolume(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "vol"), 0o755), os.Symlink("vol", link)); err != nil {
		t.Fatal(err)
	}
	id := func(n byte) vss.SnapshotID { return vss.SnapshotID{GUID: vss.GUID{n}} }
	at, gone := filepath.Join(dir, "vol"), filepath.Join(dir, "gone")
	volumes := []requester.Volume{
		{Name: "/", Device: "/dev/vda1", MountPoints: []string{"/"}, Snapshots: []vss.SnapshotID{id(1)}},
		{Name: at, Device: "/dev/loop3", UUID: "AB-CD", MountPoints: []string{at, "/mirror"},
			Snapshots: []vss.SnapshotID{id(2)}},
	}
	all := []requester.Snapshot{
		{ID: id(1), OriginalVolume: at}, // of the volume that was there before
		{ID: id(2), OriginalVolume: "/elsewhere"},
		{ID: id(3), OriginalVolume: at}, {ID: id(4), OriginalVolume: gone}, {ID: id(5), OriginalVolume: "P:"},
	}
	for _, c := range []struct {
		in   string
		want byte
	}{
		{at, 2}, {at + "/", 2}, {filepath.Join(at, "sub"), 2}, {link, 2}, {"/dev/loop3", 2}, {"uuid=ab-cd", 2},
		{"/mirror/x", 2}, {dir, 1}, {gone, 4}, {"P:", 5},
	} {
		got := copiesOf(volumes, all, c.in)
		if len(got) != 1 || got[0].ID != id(c.want) {
			t.Errorf("%s: %v, want copy %d", c.in, got, c.want)
		}
	}
}

func TestCommand(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": ExitSignal + 15} {
		tool, _, stderr := newTool()
		if got := tool.Command([]string{"sh", "-c", script}, nil, nil); got != want || stderr.Len() > 0 {
			t.Errorf("%s: exit %d, want %d; %s", script, got, want, stderr)
		}
	}
	for program, want := range map[string]int{"no-such-program-anywhere": ExitMissing, "/etc/passwd": ExitNotRun} {
		tool, _, stderr := newTool()
		if got := tool.Command([]string{program}, nil, nil); got != want || !strings.HasPrefix(stderr.String(),
			"tool: "+program) {
			t.Errorf("%s: exit %d, want %d; %s", program, got, want, stderr)
		}
	}
	tool, stdout, stderr := newTool()
	tool.JSON = true
	tool.Command([]string{"sh", "-c", "echo $A"}, []string{"A=b"}, nil)
	if stdout.Len() > 0 || stderr.String() != "b\n" {
		t.Errorf("with --json: stdout %q, stderr %q", stdout, stderr)
	}
}

func TestCommandWithoutSession(t *testing.T) {
	lost := make(chan struct{})
	close(lost)
	tool, _, stderr := newTool()
	began := time.Now()
	if code := tool.Command([]string{"sleep", "60"}, nil, lost); code != ExitTool ||
		time.Since(began) > 30*time.Second {
		t.Errorf("exit %d after %v", code, time.Since(began))
	}
	if !strings.Contains(stderr.String(), "the service stopped") {
		t.Errorf("%s", stderr)
	}
}

func TestFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args           []string
		code           int
		ok             bool
		stdout, stderr string
	}{
		"good":  {[]string{"--x", "1"}, ExitDone, true, "", ""},
		"help":  {[]string{"-h"}, ExitDone, false, "the help", ""},
		"wrong": {[]string{"--y"}, ExitUsage, false, "", "tool: flag provided but not defined: -y\n\nthe help"},
	} {
		tool, stdout, stderr := newTool()
		f := flag.NewFlagSet("tool", flag.ContinueOnError)
		f.Int("x", 0, "")
		code, ok := tool.ParseFlags(f, c.args, "the help")
		if code != c.code || ok != c.ok || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("%s: %d, %v, stdout %q, stderr %q", name, code, ok, stdout, stderr)
		}
	}
}

// TestProgress checks that nothing is shown where standard error is not a terminal.
func TestProgress(t *testing.T) {
	tool, _, stderr := newTool()
	show, end := tool.Progress()
	end()
	if show != nil || stderr.Len() > 0 {
		t.Errorf("progress in a file: %q", stderr)
	}
}
