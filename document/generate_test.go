package document

import (
	"encoding/xml"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// enumerations are the types whose values have names, with the number of names.
var enumerations = map[reflect.Type]int{
	reflect.TypeFor[vss.BackupType]():        len(backupTypeWords),
	reflect.TypeFor[vss.RestoreType]():       len(restoreTypeWords),
	reflect.TypeFor[vss.RollForwardType]():   len(rollForwardWords),
	reflect.TypeFor[vss.RestoreTarget]():     len(restoreTargetWords),
	reflect.TypeFor[vss.FileRestoreStatus](): len(restoreStatusWords),
	reflect.TypeFor[vss.Consistency]():       len(consistencyWords),
	reflect.TypeFor[vss.UsageType]():         len(usageWords),
	reflect.TypeFor[vss.SourceType]():        len(sourceWords),
	reflect.TypeFor[vss.RestoreMethod]():     len(methodWords),
	reflect.TypeFor[vss.WriterRestore]():     len(writerRestoreWords),
}

// text is any that XML can hold, with what has a meaning in it more often than by chance.
var text = rapid.Custom(func(t *rapid.T) string {
	legal := rapid.Rune().Filter(func(r rune) bool {
		return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd ||
			r >= 0x10000
	})
	return rapid.StringOf(rapid.OneOf(legal, rapid.SampledFrom([]rune(`<>&"'\/*?= `+"\t\r\n]\ufffd\U0001f4be")))).
		Draw(t, "text")
})

// fill sets every field of a value of any type: a field that is added and not written fails the round trip.
func fill(t *rapid.T, name string, v reflect.Value) {
	switch v.Type() {
	case reflect.TypeFor[Foreign]():
		v.Set(reflect.ValueOf(foreign(t, 2)))
		return
	case reflect.TypeFor[time.Time]():
		v.Set(
			reflect.ValueOf(
				time.Unix(rapid.Int64Range(-1e10, 1e11).Draw(t, name), rapid.Int64Range(0, 999_999_999).Draw(t, name)).
					UTC(),
			),
		)
		return
	case reflect.TypeFor[vss.ComponentType]():
		v.SetInt(rapid.Int64Range(1, 2).Draw(t, name))
		return
	}
	if n := enumerations[v.Type()]; n > 0 {
		v.SetInt(rapid.Int64Range(0, int64(n-1)).Draw(t, name))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.String:
		v.SetString(text.Draw(t, name))
	case reflect.Int, reflect.Int32, reflect.Int64:
		low, high := int64(math.MinInt64), int64(math.MaxInt64)
		if v.Kind() == reflect.Int32 {
			low, high = math.MinInt32, math.MaxInt32
		}
		v.SetInt(rapid.Int64Range(low, high).Draw(t, name))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, name) >> (64 - v.Type().Bits()))
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, name)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, name, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, name, v.Index(i))
		}
	case reflect.Pointer:
		if v.Type().Elem().Kind() != reflect.Struct {
			panic("pointer to " + v.Type().Elem().String())
		}
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, name, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Type().Field(i).Name, v.Field(i))
		}
	default:
		panic(v.Type().String())
	}
}

// foreign are things of names that the schemas don't have.
func foreign(t *rapid.T, depth int) Foreign {
	var f Foreign
	space := rapid.SampledFrom([]string{"", "urn:x", "urn:<y>"})
	for i := range rapid.IntRange(0, 2).Draw(t, "foreign attributes") {
		f.attrs = append(
			f.attrs,
			xml.Attr{
				Name:  xml.Name{Space: space.Draw(t, "space"), Local: fmt.Sprintf("foreign%d", i)},
				Value: text.Draw(t, "value"),
			},
		)
	}
	slices.SortFunc(f.attrs, byName)
	for i := range rapid.IntRange(0, 2).Draw(t, "foreign elements") {
		inner := Foreign{}
		if depth > 0 {
			inner = foreign(t, depth-1)
		}
		n := &node{
			name:     xml.Name{Space: space.Draw(t, "space"), Local: fmt.Sprintf("FOREIGN%d", i)},
			attrs:    inner.attrs,
			children: inner.nodes,
		}
		if s := text.Draw(t, "inside"); s != "" {
			n.children = append(n.children, &node{text: s})
		}
		f.nodes = append(f.nodes, n)
	}
	return f
}

// distinctNames makes the names of components unlike each other.
func distinctNames(i int, name *string) { *name += fmt.Sprint("n", i) }

var anyMetadata = rapid.Custom(func(t *rapid.T) *WriterMetadata {
	m := &WriterMetadata{}
	fill(t, "metadata", reflect.ValueOf(m).Elem())
	for i := range m.Components {
		c := &m.Components[i]
		distinctNames(i, &c.Name)
		for _, list := range [][]FileSet{c.Files, c.DatabaseFiles, c.DatabaseLogFiles} {
			for j := range list {
				list[j].Mask = list[j].BackupMask() // the default is written out
			}
		}
	}
	lists := [][]FileSet{m.ExcludeFiles, m.ExcludeFilesFromSnapshot, m.RestoreMethod.AlternateLocations}
	for _, list := range lists {
		for j := range list {
			list[j].Mask = 0 // of components only
		}
	}
	return m
})

var anyWriterComponents = rapid.Custom(func(t *rapid.T) *WriterComponents {
	w := &WriterComponents{}
	fill(t, "writer", reflect.ValueOf(w).Elem())
	tidy(w)
	return w
})

func tidy(w *WriterComponents) {
	for i, k := range w.Components {
		distinctNames(i, &k.Name)
		for _, list := range [][]FileSet{k.NewTargets, k.AlternateLocations} {
			for j := range list {
				list[j].Mask = 0
			}
		}
		for j := range k.RestoreSubcomponents {
			distinctNames(j, &k.RestoreSubcomponents[j].Name)
		}
	}
}

var anyComponents = rapid.Custom(func(t *rapid.T) *Components {
	c := &Components{}
	fill(t, "components", reflect.ValueOf(c).Elem())
	for i, w := range c.Writers {
		w.InstanceID.GUID[0] = byte(i)
		tidy(w)
	}
	for i, s := range c.SnapshotSet.Snapshots {
		s.ID.GUID[0] = byte(i + 1)
		s.SetID = c.SnapshotSet.ID
		if len(s.LUNs) == 0 {
			s.Extents = nil
		}
		for j := range s.Extents {
			e := &s.Extents[j]
			e.LUN = j % len(s.LUNs)
			e.Length = max(e.Length&math.MaxInt64, 1)
			e.Start = e.Start & math.MaxInt64 & (math.MaxInt64 - e.Length)
		}
	}
	return c
})

// unset are the fields in a value, at any depth, that are zero wherever they occur.
func unset(v any) []string {
	zero := map[string]bool{} // by type and field; false: some are set
	var visit func(v reflect.Value)
	visit = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				visit(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				visit(v.Index(i))
			}
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[Foreign]() || v.Type() == reflect.TypeFor[time.Time]() {
				return
			}
			for i := range v.NumField() {
				f := v.Field(i)
				name := v.Type().String() + "." + v.Type().Field(i).Name
				if before, ok := zero[name]; !ok || before {
					zero[name] = f.IsZero()
				}
				visit(f)
			}
		}
	}
	visit(reflect.ValueOf(v))
	var out []string
	for name, z := range zero {
		if z {
			out = append(out, name)
		}
	}
	return out
}
