package writerset

import (
	"errors"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// TestComponentsReachWriters checks that options and stamps reach the writer in PrepareBackup, and that its stamp
// comes back.
func TestComponentsReachWriters(t *testing.T) {
	r, i := recorder("db")
	w := gathered(t, i)
	w.Document().SelectComponents = true
	n := database(i, "", "data")
	must(t, w.AddComponent(i.ID, i.Info.ID, n.Type, "", "data"), w.SetBackupOptions(n, "wish"),
		w.SetPreviousBackupStamp(n, "base"))
	target := target()
	must(t, w.sendUpTo(writer.OnPostSnapshot, target), w.SetBackupSucceeded(n, true))
	seen := r.Seen()[0]
	if c := seen.Event.Components.Component("", "data"); c.BackupOptions != "wish" || c.PreviousBackupStamp != "base" {
		t.Errorf("%v got %+v", seen.Handler, c)
	}
	all := w.Components()
	if c := all[0].Component("", "data"); c.BackupStamp != target.Set.String() || !c.BackupSucceeded {
		t.Errorf("the component is %+v", c)
	}
	all[0].Components[0].BackupStamp = "mine"
	if w.Components()[0].Components[0].BackupStamp == "mine" {
		t.Error("a change of what Components returned reached the document")
	}
}

// TestEqualComponents checks that options reach the instance that they are meant for when two have equal components.
func TestEqualComponents(t *testing.T) {
	r, one := recorder("db")
	named(r, "other")
	two := instanceOf(r)
	w := gathered(t, one, two)
	w.Document().SelectComponents = true
	for _, i := range []*writer.Instance{one, two} {
		must(t, w.AddComponent(i.ID, i.Info.ID, vss.ComponentDatabase, "", "data"))
	}
	for _, c := range []struct {
		instance vss.WriterInstanceID
		want     int // the entry that is changed
	}{{vss.WriterInstanceID{}, 0}, {one.ID, 0}, {two.ID, 1}, {vss.WriterInstanceID{GUID: vss.NewGUID()}, 0}} {
		n, text := database(one, "", "data"), vss.NewGUID().String()
		n.Instance = c.instance
		must(t, w.SetBackupOptions(n, text))
		for i, entry := range w.Components() {
			if got := entry.Components[0].BackupOptions == text; got != (i == c.want) {
				t.Errorf("instance %v: entry %d has the options: %v", c.instance, i, got)
			}
		}
	}
}

// TestComponentErrors checks the codes of calls that name components.
func TestComponentErrors(t *testing.T) {
	_, i := recorder("db")
	w := newWorld(t, i)
	class, other := i.Info.ID, vss.WriterID{GUID: vss.NewGUID()}
	if err := w.AddComponent(i.ID, class, vss.ComponentDatabase, "", "data"); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("AddComponent before Gather: %v", err)
	}
	if err := w.CheckComponents(); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("CheckComponents before Gather: %v", err)
	}
	must(t, w.Gather(t.Context()), w.AddComponent(i.ID, class, vss.ComponentDatabase, "", "data"))
	group := database(i, "", "data")
	group.Type = vss.ComponentFileGroup
	foreign := database(i, "", "data")
	foreign.Writer = other
	instance := database(i, "", "data")
	instance.Instance = vss.WriterInstanceID{GUID: vss.NewGUID()}
	for name, err := range map[string]error{
		"a writer that is not there":        w.AddComponent(i.ID, other, vss.ComponentDatabase, "", "data"),
		"a component of another type":       w.AddComponent(i.ID, class, vss.ComponentFileGroup, "", "other"),
		"options of a missing component":    w.SetBackupOptions(database(i, "", "other"), "x"),
		"options of a component's namesake": w.SetBackupOptions(group, "x"),
		"a stamp of another class":          w.SetPreviousBackupStamp(foreign, "x"),
		"success of a missing component":    w.SetBackupSucceeded(database(i, "", "other"), true),
		"success of a missing writer":       w.SetBackupSucceeded(foreign, true),
		"success of a component's namesake": w.SetBackupSucceeded(group, true),
		"success of another instance":       w.SetBackupSucceeded(instance, true),
	} {
		if !errors.Is(err, vss.ErrObjectNotFound) || vss.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSelectability checks each row of the rules of selectability.
func TestSelectability(t *testing.T) {
	r, i := recorder("db")
	r.Metadata.RestoreMethod.AlternateLocations = nil
	file := func(name string) []document.FileSet { return []document.FileSet{{Path: "/srv/" + name, FileSpec: "*"}} }
	c := func(path, name string, selectable bool) document.WMComponent {
		return document.WMComponent{Type: vss.ComponentFileGroup, LogicalPath: path, Name: name,
			Selectable: selectable, Files: file(name)}
	}
	r.Metadata.Components = []document.WMComponent{
		c("", "must", false), c("must", "too", false), c("", "may", true),
		c("may", "part", false), c("may", "nested", true), c(`may\nested`, "deep", false),
	}
	required := [][2]string{{"", "must"}, {"must", "too"}}
	for _, k := range []struct {
		name    string
		add     [][2]string
		last    vss.Code // of the last AddComponent
		prepare vss.Code // of CheckComponents
	}{
		{"nothing", nil, 0, 0},
		{"required ones only", required, 0, 0},
		{"one required is missing", [][2]string{{"", "must"}}, 0, vss.ErrBadState},
		{"required ones are missing", [][2]string{{"", "may"}}, 0, vss.ErrBadState},
		{"an optional one", append(required[:2:2], [2]string{"", "may"}), 0, 0},
		{"a nested one", append(required[:2:2], [2]string{"may", "nested"}), 0, 0},
		{"an implicit one", [][2]string{{"may", "part"}}, vss.ErrInvalidArg, 0},
		{"a deep implicit one", [][2]string{{`may\nested`, "deep"}}, vss.ErrInvalidArg, 0},
		{"a nested one that comes anyway", [][2]string{{"", "may"}, {"may", "nested"}}, vss.ErrInvalidArg,
			vss.ErrBadState},
		{"one that would bring another", [][2]string{{"may", "nested"}, {"", "may"}}, vss.ErrInvalidArg,
			vss.ErrBadState},
		{"one twice", [][2]string{{"", "must"}, {"", "must"}}, vss.ErrObjectAlreadyExists, vss.ErrBadState},
		{"none of the writer's", [][2]string{{"", "none"}}, vss.ErrObjectNotFound, 0},
	} {
		t.Run(k.name, func(t *testing.T) {
			w := gathered(t, i)
			w.Document().SelectComponents = true
			var err error
			for n, a := range k.add {
				if err = w.AddComponent(i.ID, i.Info.ID, vss.ComponentFileGroup, a[0], a[1]); err != nil &&
					n < len(k.add)-1 {
					t.Fatal(err)
				}
			}
			if vss.CodeOf(err) != k.last {
				t.Errorf("AddComponent: %v, want %v", err, k.last)
			}
			if err := w.CheckComponents(); vss.CodeOf(err) != k.prepare || err != nil && vss.Hint(err) == "" {
				t.Errorf("CheckComponents: %v, want %v", err, k.prepare)
			}
		})
	}
}

// TestLoad checks which documents begin a session.
func TestLoad(t *testing.T) {
	r, i := recorder("db")
	doc, meta := saved(t, i, r, "data")
	for _, text := range []string{"", "<", "<WRITER_METADATA/>"} {
		if err := newWorld(t).Load([]byte(text)); !errors.Is(err, vss.ErrInvalidXMLDocument) {
			t.Errorf("Load(%q): %v", text, err)
		}
		if err := newWorld(t).LoadRestore([]byte(text), nil); !errors.Is(err, vss.ErrInvalidXMLDocument) {
			t.Errorf("LoadRestore(%q): %v", text, err)
		}
	}
	w := newWorld(t)
	if err := w.LoadRestore(doc, [][]byte{meta, doc}); !errors.Is(err, vss.ErrInvalidXMLDocument) || w.Restoring() {
		t.Errorf("metadata that are another document: %v", err)
	}
	must(t, w.Load(doc))
	if w.Restoring() || w.Document().Writer(i.Info.ID, i.ID) == nil {
		t.Errorf("the document is %+v", w.Document())
	}
	must(t, w.LoadRestore(doc, [][]byte{meta}))
	if !w.Restoring() {
		t.Error("it does not restore")
	}
}
