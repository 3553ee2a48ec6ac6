package document

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func seeds(f *testing.F, pattern string) {
	files, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(files) == 0 {
		f.Fatal(pattern, err)
	}
	for _, file := range files {
		f.Add(sample(f, filepath.Base(file)))
	}
	for _, s := range []string{
		wmHead + wmTail, bcHead + bcTail, bcHead +
			`<WRITER_COMPONENTS><COMPONENT componentName="a"/></WRITER_COMPONENTS>` + bcTail,
		wmHead + `<p:a xmlns:p="urn:x" p:b="c" d=""><![CDATA[x]]>&#13;<!-- y --></p:a>` + wmTail,
		bcHead + `<:a :b="" xmlns:="u" c:xmlns="v"/>` + bcTail,
		wmHead + `<p:é p:_="1" xmlns:p="urn:x"/>` + wmTail, `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`,
	} {
		f.Add([]byte(s))
		f.Add(wide(s))
	}
}

// again holds what must be true of any input: it is refused with the one code, or it is written so that it reads as
// the same.
func again[T interface{ XML() ([]byte, error) }](t *testing.T, data []byte, parse func([]byte) (T, error)) {
	first, err := parse(data)
	if err != nil {
		if !errors.Is(err, vss.ErrInvalidXMLDocument) {
			t.Fatalf("refused with %v", err)
		}
		return
	}
	written, err := first.XML()
	if err != nil {
		if len(data) > MaxSize/100 { // escaping and namespaces make it longer
			return
		}
		t.Fatalf("can't be written: %v", err)
	}
	second, err := parse(written)
	if err != nil {
		t.Fatalf("%v\n%q", err, written)
	}
	if d := cmp.Diff(first, second); d != "" {
		t.Fatalf("(-first +second):\n%s\n%q", d, written)
	}
	if twice, err := second.XML(); err != nil || !bytes.Equal(written, twice) {
		t.Fatalf("written twice: %v\n%q\n%q", err, written, twice)
	}
}

func FuzzParse(f *testing.F) {
	seeds(f, "components-*.xml")
	f.Fuzz(func(t *testing.T, data []byte) {
		again(t, data, Parse)
		if c, err := Parse(data); err == nil {
			c.Transportable()
			for _, w := range c.Writers {
				w.Clone()
			}
		}
	})
}

func FuzzParseMetadata(f *testing.F) {
	seeds(f, "metadata-*.xml")
	f.Fuzz(func(t *testing.T, data []byte) {
		again(t, data, ParseMetadata)
		m, err := ParseMetadata(data)
		if err != nil {
			return
		}
		if m.Validate() != nil {
			return
		}
		w := &WriterComponents{}
		for _, c := range m.Top() {
			if err := m.CheckAdd(w, c); err != nil {
				t.Fatalf("%s is one that may be added: %v", c.FullName(), err)
			}
			w.Components = append(w.Components, &Component{Type: c.Type, LogicalPath: c.LogicalPath, Name: c.Name})
		}
		if missing := m.Missing(w); len(missing) > 0 {
			t.Fatalf("all is added, yet %s is missing", missing[0].FullName())
		}
		if n := len(m.Included(w)); n != len(m.Components) {
			t.Fatalf("all is added, yet %d of %d components are included", n, len(m.Components))
		}
	})
}

func FuzzWriterComponents(f *testing.F) {
	seeds(f, "components-*.xml")
	f.Fuzz(func(t *testing.T, data []byte) { again(t, data, ParseWriterComponents) })
}
