package document

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// same compares documents; an empty list and none are the same.
func same(t *rapid.T, what string, want, got any) {
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s (-before +after):\n%s", what, d)
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMetadata.Draw(t, "metadata")
		data, err := m.XML()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseMetadata(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		same(t, "by way of XML", m, got)
		got, err = ParseMetadata(wide(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "by way of XML in UTF-16", m, got)
	})
}

func TestComponentsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyComponents.Draw(t, "components")
		data, err := c.XML()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		same(t, "by way of XML", c, got)
	})
}

func TestWriterComponentsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWriterComponents.Draw(t, "writer")
		data, err := w.XML()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseWriterComponents(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		same(t, "by way of XML", w, got)
		clone := w.Clone()
		same(t, "cloned", w, clone)
		for _, k := range clone.Components { // nothing of the clone is the original's
			scrub(reflect.ValueOf(k).Elem())
		}
		same(t, "after its clone was changed", got, w)
	})
}

// scrub clears what a component holds, in its own memory and in what it points to.
func scrub(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case f.Type() == reflect.TypeFor[Foreign]():
			continue // never changed in place
		case f.Kind() == reflect.Slice:
			for j := range f.Len() {
				f.Index(j).SetZero()
			}
		case f.Kind() == reflect.Pointer && !f.IsNil():
			f.Elem().SetZero()
		}
		f.SetZero()
	}
}

// TestMetadataJSON: what a hook writer prints. Foreign things are XML's alone.
func TestMetadataJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMetadata.Draw(t, "metadata")
		strip(reflect.ValueOf(m).Elem())
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got := &WriterMetadata{}
		if err := json.Unmarshal(data, got); err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		same(t, "by way of JSON", m, got)
	})
	for _, text := range []string{
		`{"usage":"users"}`, `{"components":[{"type":"files","name":"x"}]}`, `{"restore_method":{"method":"quick"}}`,
		`{"writer_id":"x"}`,
		`{"components":[{"type":"filegroup","files":[{"mask":-1}]}]}`,
	} {
		if err := json.Unmarshal([]byte(text), &WriterMetadata{}); err == nil {
			t.Errorf("%s: taken", text)
		}
	}
}

// strip clears all Foreign in a value.
func strip(v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[Foreign]():
		v.SetZero()
	case v.Kind() == reflect.Pointer && !v.IsNil():
		strip(v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			strip(v.Index(i))
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			strip(v.Field(i))
		}
	}
}

// TestSetOnce: a second note to a component is refused and changes nothing.
func TestSetOnce(t *testing.T) {
	k := &Component{LogicalPath: "a", Name: "b"}
	for _, set := range []func(string) error{k.SetBackupMetadata, k.SetRestoreMetadata} {
		if err := set("first"); err != nil {
			t.Error(err)
		}
		if err := set("second"); !errors.Is(err, vss.ErrObjectAlreadyExists) {
			t.Errorf("the second time: %v", err)
		}
	}
	if k.BackupMetadata != "first" || k.RestoreMetadata != "first" {
		t.Errorf("%+v", k)
	}
}
