package writerset

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// TestWhyInconsistent checks for which components the copies of a writer's data are consistent that failed for all,
// for some or for none of them.
func TestWhyInconsistent(t *testing.T) {
	partial := writer.Failure{Code: vss.ErrWriterErrorPartialFailure}
	full := writer.Failure{Code: vss.ErrWriterErrorRetryable}
	bad := &document.ComponentFailure{Code: vss.ErrWriterErrorNonRetryable}
	for _, c := range []struct {
		name       string
		failure    writer.Failure
		thawed     bool
		mode       bool // component mode
		data       *document.ComponentFailure
		other      *document.ComponentFailure
		consistent string
		reason     string
	}{
		{"fine", writer.Failure{}, true, true, nil, nil, "data part other", ""},
		{"fine, without components", writer.Failure{}, true, false, nil, nil, "data part other", ""},
		{"failed", full, true, true, nil, nil, "", "VSS_E_WRITERERROR_RETRYABLE"},
		{"failed for one", partial, true, true, nil, bad, "data part",
			"failed for other: VSS_E_WRITERERROR_NONRETRYABLE"},
		{"failed for one with a member", partial, true, true, bad, nil, "other",
			"failed for data: VSS_E_WRITERERROR_NONRETRYABLE"},
		{"failed in part, for none", partial, true, true, nil, nil, "", "VSS_E_WRITERERROR_PARTIAL_FAILURE"},
		{"failed in part, without components", partial, true, false, nil, bad, "", "VSS_E_WRITERERROR_PARTIAL_FAILURE"},
		{"failed in part before Thaw", partial, false, true, nil, bad, "", "VSS_E_WRITERERROR_PARTIAL_FAILURE"},
		{"failed for all and for one", full, true, true, nil, bad, "", "VSS_E_WRITERERROR_RETRYABLE"},
		{"failed for one only", writer.Failure{}, true, true, nil, bad, "data part", "failed for other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, i := recorder("db")
			w := newWorld(t)
			p := &participant{Instance: i, meta: &r.Metadata, state: vss.WriterWaitingForBackupComplete,
				failure: c.failure, thawed: c.thawed}
			if c.failure.Code.Failed() {
				p.state = vss.WriterFailedAtPostSnapshot
			}
			w.doc.SelectComponents = c.mode
			if c.mode {
				w.doc.Writers = []*document.WriterComponents{{WriterID: i.Info.ID, InstanceID: i.ID,
					Components: []*document.Component{
						{Type: vss.ComponentDatabase, Name: "data", Failure: c.data},
						{Type: vss.ComponentDatabase, Name: "other", Failure: c.other},
					}}}
			}
			var consistent, why []string
			for _, m := range w.included(p) {
				if text := w.whyInconsistent(p, m); text == "" {
					consistent = append(consistent, m.Name)
				} else {
					why = append(why, text)
				}
			}
			if got := strings.Join(consistent, " "); got != c.consistent {
				t.Errorf("consistent are %q, want %q", got, c.consistent)
			}
			if len(why) > 0 && !strings.Contains(strings.Join(why, "; "), c.reason) {
				t.Errorf("the reasons are %q, want %q", why, c.reason)
			}
		})
	}
}

// TestLabels checks what the copies and the set promise.
func TestLabels(t *testing.T) {
	dir := t.TempDir() // the only file system that is certain to be there
	other := "/proc"
	const crash, fs, app = vss.ConsistencyCrash, vss.ConsistencyFileSystem, vss.ConsistencyApplication
	data := Volume{"data", dir, true}
	for _, c := range []struct {
		name    string
		volumes []Volume
		path    string // of the writer's files
		change  func(w *world, r *writertest.Recorder, target *Target)
		labels  []vss.Consistency
		set     vss.Consistency
		reason  string
	}{
		{"application", []Volume{data}, filepath.Join(dir, "none", "deeper"), nil, []vss.Consistency{app}, app, ""},
		{"an environment variable", []Volume{data}, "$DATA/db", nil, []vss.Consistency{app}, app, ""},
		{"no data on it", []Volume{{"proc", other, true}}, dir, nil, []vss.Consistency{fs}, fs,
			"no writer has data on proc"},
		{"not held", []Volume{data, {"raw", "", false}}, dir, nil, []vss.Consistency{app, crash}, crash,
			"raw holds no mounted file system"},
		{"no writers", []Volume{data}, dir, func(_ *world, _ *writertest.Recorder, target *Target) {
			target.Context = vss.ContextFileShareBackup
		}, []vss.Consistency{fs}, fs, "no writers were involved"},
		{"a writer failed", []Volume{data, {"proc", other, true}}, dir,
			func(_ *world, r *writertest.Recorder, _ *Target) {
				r.At(writer.OnFreeze, writertest.Veto(vss.ErrWriterErrorRetryable, "busy"))
			}, []vss.Consistency{fs, fs}, fs, "writer db is failed-at-freeze: VSS_E_WRITERERROR_RETRYABLE"},
		{"a writer failed, on the second volume", []Volume{{"proc", other, true}, data}, dir, // users C
			func(_ *world, r *writertest.Recorder, _ *Target) {
				r.At(writer.OnFreeze, writertest.Veto(vss.ErrWriterErrorRetryable, "busy"))
			}, []vss.Consistency{fs, fs}, fs, "writer db is failed-at-freeze: VSS_E_WRITERERROR_RETRYABLE"},
		{"its components are not included", []Volume{data}, dir, func(w *world, _ *writertest.Recorder, _ *Target) {
			w.Document().SelectComponents = true
		}, []vss.Consistency{fs}, fs, "no writer has data on data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("DATA", dir)
			r, i := recorder("db")
			r.Metadata.Components = r.Metadata.Components[:1]
			r.Metadata.Components[0].DatabaseFiles = []document.FileSet{
				{Path: c.path, FileSpec: "*"}, {Path: c.path, FileSpec: "*.log"}, {Path: "/sys/nowhere", FileSpec: "*"},
			}
			w, target := gathered(t, i), target()
			if c.change != nil {
				c.change(w, r, &target)
			}
			must(t, w.sendUpTo(writer.OnPostSnapshot, target))
			labels, set, reason := w.Labels(target, c.volumes)
			if !slices.Equal(labels, c.labels) || set != c.set || !strings.HasPrefix(reason, c.reason) ||
				(reason == "") != (c.reason == "") {
				t.Errorf("%v, %v, %q; want %v, %v, %q", labels, set, reason, c.labels, c.set, c.reason)
			}
		})
	}
	if _, err := os.Stat(other); err != nil {
		t.Fatal(err)
	}
}

// A writer that failed to identify its data may have some on any volume: the set isn't application consistent, and the
// status of the session has the failure (trust 4).
func TestFailedIdentifyLowersLabel(t *testing.T) {
	dir := t.TempDir()
	good, one := recorder("good")
	good.Metadata.Components[0].DatabaseFiles = []document.FileSet{{Path: dir, FileSpec: "*"}}
	bad, two := recorder("bad")
	bad.AtIdentify(writertest.Fail(vss.ErrWriterErrorRetryable, errors.New("no")))
	w, target := gathered(t, one, two), target()
	must(t, w.sendUpTo(writer.OnPostSnapshot, target))
	_, set, reason := w.Labels(target, []Volume{{"data", dir, true}})
	if set != vss.ConsistencyFileSystem || !strings.Contains(reason, "writer bad failed to identify its data") {
		t.Errorf("the set is %v: %s", set, reason)
	}
	for _, s := range w.Status() {
		if s.Name == "bad" && s.State == vss.WriterFailedAtIdentify && s.Failure == vss.ErrWriterErrorRetryable {
			return
		}
	}
	t.Errorf("the status is %+v", w.Status())
}
