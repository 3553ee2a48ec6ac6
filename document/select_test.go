package document

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// tree makes components of full names: "+" in front for selectable, "r" for selectable for restore.
func tree(names ...string) *WriterMetadata {
	m := &WriterMetadata{Name: "tree", WriterID: vss.WriterID{GUID: vss.NewGUID()}}
	for _, full := range names {
		c := WMComponent{Type: vss.ComponentFileGroup}
		if full, c.SelectableForRestore = strings.CutPrefix(full, "r"); true {
			full, c.Selectable = strings.CutPrefix(full, "+")
		}
		c.LogicalPath, c.Name = split(full)
		m.Components = append(m.Components, c)
	}
	return m
}

func split(full string) (logicalPath, name string) {
	if i := strings.LastIndex(full, `\`); i >= 0 {
		return full[:i], full[i+1:]
	}
	return "", full
}

func (m *WriterMetadata) at(t *testing.T, full string) *WMComponent {
	t.Helper()
	path, name := split(full)
	c := m.Component(path, name)
	if c == nil {
		t.Fatalf("no component %s", full)
	}
	return c
}

func chosen(names ...string) *WriterComponents {
	w := &WriterComponents{}
	for _, full := range names {
		k := &Component{Type: vss.ComponentFileGroup}
		k.LogicalPath, k.Name = split(full)
		w.Components = append(w.Components, k)
	}
	return w
}

func fullNames[T interface{ FullName() string }](list []T) []string {
	out := []string{}
	for _, c := range list {
		out = append(out, c.FullName())
	}
	return out
}

// TestBackupSelectability goes through the rule table for backup: selectable (S), has a selectable ancestor (A), one
// of those is included (X).
func TestBackupSelectability(t *testing.T) {
	for _, c := range []struct {
		row      string
		tree     []string
		included []string
		of       string
		kind     Selection
		add      error // what AddComponent says
		in       bool  // it is in the backup when what the row includes is
		explicit bool  // and stands in the backup components document
	}{
		{"S no, A no: required, not added yet", []string{"a", "+b"}, []string{"b"}, "a", Required, nil, false, false},
		{"S no, A no: required, added", []string{"a", "+b"}, []string{"a", "b"}, "a", Required,
			vss.ErrObjectAlreadyExists, true, true},
		{"S no, A no: below a required one it isn't a member, but required itself", []string{"a", `a\b`}, []string{"a"},
			`a\b`, Required, nil, false, false},
		{"S no, A no: above a selectable one", []string{"a", `+a\b`}, []string{`a\b`}, "a", Required, nil, false,
			false},
		{"S yes, A no: optional, not chosen", []string{"+a", "+b"}, []string{"b"}, "a", Optional, nil, false, false},
		{"S yes, A no: optional, chosen", []string{"+a"}, []string{"a"}, "a", Optional, vss.ErrObjectAlreadyExists,
			true, true},
		{"S yes, A no: optional below a required one", []string{"a", `+a\b`}, []string{"a"}, `a\b`, Optional, nil,
			false, false},
		{"S yes, A no: its path leads through no component", []string{`+x\y\a`}, nil, `x\y\a`, Optional, nil, false,
			false},
		{"S no, A yes, X no: can't be backed up in this run", []string{"+a", `a\b`, "c"}, []string{"c"}, `a\b`,
			Implicit, vss.ErrInvalidArg, false, false},
		{"S no, A yes, X yes: comes with it", []string{"+a", `a\b`}, []string{"a"}, `a\b`, Implicit, vss.ErrInvalidArg,
			true, false},
		{"S no, A yes, X yes: comes with it, at any depth", []string{"+a", `a\x\y\b`}, []string{"a"}, `a\x\y\b`,
			Implicit, vss.ErrInvalidArg, true, false},
		{"S no, A yes, X yes: by way of a nested one", []string{"+a", `+a\b`, `a\b\c`}, []string{`a\b`}, `a\b\c`,
			Implicit, vss.ErrInvalidArg, true, false},
		{"S yes, A yes, X no: may be added", []string{"+a", `+a\b`}, []string{}, `a\b`, Nested, nil, false, false},
		{"S yes, A yes, X no: added", []string{"+a", `+a\b`}, []string{`a\b`}, `a\b`, Nested,
			vss.ErrObjectAlreadyExists, true, true},
		{"S yes, A yes, X yes: comes with it and must not be added", []string{"+a", `+a\b`}, []string{"a"}, `a\b`,
			Nested, vss.ErrInvalidArg, true, false},
		{"S yes, A yes, X yes: the other way about", []string{"+a", `+a\b`}, []string{`a\b`}, "a", Optional,
			vss.ErrInvalidArg, false, false},
		{"a name that only begins like another is not below it", []string{"+a", `ab\c`}, []string{"a"}, `ab\c`,
			Required, nil, false, false},
		{"names differ by case", []string{"+a", `A\c`}, []string{"a"}, `A\c`, Required, nil, false, false},
	} {
		t.Run(c.row, func(t *testing.T) {
			m, w := tree(c.tree...), chosen(c.included...)
			of := m.at(t, c.of)
			if k := m.Selection(of); k != c.kind {
				t.Errorf("Selection: %d, want %d", k, c.kind)
			}
			err := m.CheckAdd(w, of)
			if c.add == nil && err != nil || !errors.Is(err, c.add) {
				t.Errorf("CheckAdd: %v, want %v", err, c.add)
			}
			if in := slices.Contains(m.Included(w), of); in != c.in {
				t.Errorf("in the backup: %v", in)
			}
			if explicit := w.Component(split(c.of)) != nil; explicit != c.explicit {
				t.Errorf("explicit: %v", explicit)
			}
		})
	}
}

// TestRequired: all required components are added as soon as one component of the writer is; a backup of everything
// adds these and the optional ones, and has everything.
func TestRequired(t *testing.T) {
	m := tree("a", `a\b`, "+c", `c\d`, `+c\e`, `x\f`)
	for _, c := range []struct {
		name    string
		w       *WriterComponents
		missing []string
	}{
		{"nothing", nil, []string{}},
		{"nothing, though listed", chosen(), []string{}},
		{"an optional one", chosen("c"), []string{"a", `a\b`, `x\f`}},
		{"a nested one", chosen(`c\e`), []string{"a", `a\b`, `x\f`}},
		{"a required one", chosen("a"), []string{`a\b`, `x\f`}},
		{"all of them", chosen("a", `a\b`, `x\f`), []string{}},
	} {
		if d := cmp.Diff(c.missing, fullNames(m.Missing(c.w))); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	if d := cmp.Diff([]string{"a", `a\b`, "c", `x\f`}, fullNames(m.Top())); d != "" {
		t.Errorf("Top (-want +got):\n%s", d)
	}
	if got := m.Included(chosen(fullNames(m.Top())...)); len(got) != len(m.Components) {
		t.Errorf("a backup of everything has %v", fullNames(got))
	}
	if err := m.CheckAdd(nil, m.at(t, "c")); err != nil {
		t.Errorf("the first component: %v", err)
	}
	for of, set := range map[string][]string{"a": {"a"}, "c": {"c", `c\d`, `c\e`}, `c\e`: {`c\e`}, `c\d`: {`c\d`}} {
		if d := cmp.Diff(set, fullNames(m.Set(m.at(t, of)))); d != "" {
			t.Errorf("set of %s (-want +got):\n%s", of, d)
		}
	}
}

// TestRestoreSelectability goes through the rule table for restore.
func TestRestoreSelectability(t *testing.T) {
	for _, c := range []struct {
		row      string
		tree     []string
		included []string
		of       string
		how      RestoreSelection
		selected string // the component to select for it
		err      error  // SetSelectedForRestore for it itself
		subErr   error  // AddRestoreSubcomponent for it
		restored []string
	}{
		{"explicit, flag no: always alone", []string{"+a", `a\b`}, []string{"a"}, "a", RestoreAlone, "a", nil,
			vss.ErrObjectNotFound, []string{"a", `a\b`}},
		{"explicit, flag yes: the flag is ignored", []string{"r+a"}, []string{"a"}, "a", RestoreAlone, "a", nil,
			vss.ErrObjectNotFound, []string{"a"}},
		{"explicit, required", []string{"a", `a\b`}, []string{"a", `a\b`}, `a\b`, RestoreAlone, `a\b`, nil,
			vss.ErrObjectNotFound, []string{`a\b`}},
		{"explicit, nested", []string{"+a", `r+a\b`, `a\b\c`}, []string{`a\b`}, `a\b`, RestoreAlone, `a\b`, nil,
			vss.ErrObjectNotFound, []string{`a\b`, `a\b\c`}},
		{"implicit, flag yes: as a subcomponent, with what is below it only", []string{"+a", `ra\b`, `a\b\c`, `a\d`},
			[]string{"a"}, `a\b`,
			RestoreAsSubcomponent, "a", vss.ErrObjectNotFound, nil, []string{`a\b`, `a\b\c`}},
		{"implicit, flag yes, selectable for backup", []string{"+a", `r+a\b`, `a\d`}, []string{"a"}, `a\b`,
			RestoreAsSubcomponent, "a", vss.ErrObjectNotFound, nil, []string{`a\b`}},
		{"implicit, flag yes, deep below", []string{"+a", `a\b`, `ra\b\x\c`}, []string{"a"}, `a\b\x\c`,
			RestoreAsSubcomponent, "a", vss.ErrObjectNotFound, nil, []string{`a\b\x\c`}},
		{"implicit, flag no: comes along with the explicit one", []string{"+a", `a\b`, `a\d`}, []string{"a"}, `a\b`,
			RestoreWithAncestor, "a", vss.ErrObjectNotFound, vss.ErrInvalidArg, []string{"a", `a\b`, `a\d`}},
		{"implicit, flag no: below a nested explicit one", []string{"+a", `+a\b`, `a\b\c`}, []string{`a\b`}, `a\b\c`,
			RestoreWithAncestor, `a\b`, vss.ErrObjectNotFound, vss.ErrInvalidArg, []string{`a\b`, `a\b\c`}},
		{"not in the backup, with any flag", []string{"+a", `r+b`}, []string{"a"}, "b", RestoreNotSaved, "",
			vss.ErrObjectNotFound, nil, nil},
		{"not in the backup: its ancestor was added but heads no set", []string{"a", `r+a\b`}, []string{"a"}, `a\b`,
			RestoreNotSaved, "", vss.ErrObjectNotFound, nil, nil},
	} {
		t.Run(c.row, func(t *testing.T) {
			m, w := tree(c.tree...), chosen(c.included...)
			of := m.at(t, c.of)
			how, k := m.RestoreSelection(w, of)
			if how != c.how || (k == nil) != (c.selected == "") || k != nil && k.FullName() != c.selected {
				t.Fatalf("RestoreSelection: %d on %+v", how, k)
			}
			if err := w.SelectForRestore(m, of.Type, of.LogicalPath, of.Name, true); c.err == nil && err != nil ||
				!errors.Is(err, c.err) {
				t.Errorf("SelectForRestore: %v, want %v", err, c.err)
			}
			if k == nil {
				return
			}
			if err := w.SelectForRestore(m, k.Type, k.LogicalPath, k.Name, true); err != nil {
				t.Fatal(err)
			}
			err := w.AddRestoreSubcomponent(m, k.Type, k.LogicalPath, k.Name, of.LogicalPath, of.Name)
			if c.subErr == nil && err != nil || !errors.Is(err, c.subErr) {
				t.Errorf("AddRestoreSubcomponent: %v, want %v", err, c.subErr)
			}
			if d := cmp.Diff(c.restored, fullNames(m.RestoreSet(w, k))); d != "" {
				t.Errorf("restored (-want +got):\n%s", d)
			}
			if err := w.SelectForRestore(m, k.Type, k.LogicalPath, k.Name, false); err != nil ||
				len(m.RestoreSet(w, k)) > 0 ||
				len(k.RestoreSubcomponents) > 0 {
				t.Errorf("taken back: %v, %+v", err, k)
			}
		})
	}
}

// TestRestoreOrder: what AddRestoreSubcomponent insists on.
func TestRestoreOrder(t *testing.T) {
	m, w := tree("+a", `ra\b`, `ra\c`, `+d`, `rd\e`), chosen("a", "d")
	const group = vss.ComponentFileGroup
	add := func(root, sub string, want error) {
		t.Helper()
		path, name := split(sub)
		err := w.AddRestoreSubcomponent(m, group, "", root, path, name)
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s below %s: %v, want %v", sub, root, err, want)
		}
	}
	add("a", `a\b`, vss.ErrBadState) // not selected yet
	if err := w.SelectForRestore(m, vss.ComponentDatabase, "", "a", true); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Errorf("of another type: %v", err)
	}
	if err := w.SelectForRestore(nil, group, "", "a", true); err != nil {
		t.Fatal(err)
	}
	add("x", `a\b`, vss.ErrObjectNotFound)
	add("a", "", vss.ErrInvalidArg)
	add("a", "b", vss.ErrObjectNotFound)    // at the top: can only have been explicit
	add("a", `d\e`, vss.ErrObjectNotFound)  // of another set
	add("a", `a\no`, vss.ErrObjectNotFound) // of none
	add("a", `a\b`, nil)
	add("a", `a\b`, vss.ErrObjectAlreadyExists)
	add("a", `a\c`, nil)
	if d := cmp.Diff([]string{`a\b`, `a\c`}, fullNames(m.RestoreSet(w, w.Component("", "a")))); d != "" {
		t.Errorf("two subcomponents (-want +got):\n%s", d)
	}
	m = nil // only the backup components were saved
	add("a", `a\anything`, nil)
	add("a", `d\e`, vss.ErrObjectNotFound)
}
