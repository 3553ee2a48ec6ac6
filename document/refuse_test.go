package document

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	wmHead = `<WRITER_METADATA xmlns="x-schema:#VssWriterMetadataInfo" version="1.2">`
	wmTail = `</WRITER_METADATA>`
	bcHead = `<BACKUP_COMPONENTS xmlns="x-schema:#VssComponentMetadata" version="1.2">`
	bcTail = `</BACKUP_COMPONENTS>`
)

func rendered(n *node) ([]byte, error) {
	var b bytes.Buffer
	err := n.write(&b, "")
	return b.Bytes(), err
}

func wide(s string) []byte {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return out
}

func TestRefused(t *testing.T) {
	group := func(attrs string) string {
		return wmHead + `<BACKUP_LOCATIONS><FILE_GROUP componentName="x" ` + attrs + `/></BACKUP_LOCATIONS>` + wmTail
	}
	copies := func(inside string) string {
		return strings.Replace(bcHead, "version", `formatVersion="1" version`, 1) +
			`<SNAPSHOT_SET_DESCRIPTION snapshotSetId="0a0a0a0a-0000-4000-8000-000000000001">` + inside +
			`</SNAPSHOT_SET_DESCRIPTION>` + bcTail
	}
	const id = `snapshotId="0b0b0b0b-0000-4000-8000-000000000001"`
	writer := `<WRITER_COMPONENTS writerId="0b0b0b0b-0000-4000-8000-000000000001">`
	for name, text := range map[string]string{
		"nothing":                      "",
		"no XML":                       "WRITER_METADATA",
		"cut off":                      wmHead,
		"not closed":                   wmHead + "<A>" + wmTail,
		"two roots":                    wmHead + wmTail + wmHead + wmTail,
		"text after the root":          wmHead + wmTail + "x",
		"text in a known element":      wmHead + "x" + wmTail,
		"the root without a namespace": `<WRITER_METADATA version="1.2"/>`,
		"the root of another":          strings.Replace(wmHead+wmTail, "x-schema:#Vss", "x-schema:#", 1),
		"no version":                   strings.Replace(wmHead+wmTail, ` version="1.2"`, "", 1),
		"a newer version":              strings.Replace(wmHead+wmTail, "1.2", "1.3", 1),
		"a newer major version":        strings.Replace(wmHead+wmTail, "1.2", "2.0", 1),
		"a newer format":               strings.Replace(wmHead+wmTail, "version", `formatVersion="2" version`, 1),
		"no number for a version":      strings.Replace(wmHead+wmTail, "1.2", "one", 1),
		"another encoding":             `<?xml version="1.0" encoding="iso-8859-1"?>` + wmHead + wmTail,
		"UTF-16 without its mark":      `<?xml version="1.0" encoding="utf-16"?>` + wmHead + wmTail,
		"no UTF-8":                     wmHead + "<A b=\"\xff\"/>" + wmTail,
		"a character XML hasn't":       wmHead + `<A b="&#1;"/>` + wmTail,
		"a DTD":                        "<!DOCTYPE x>" + wmHead + wmTail,
		"an entity":                    `<!DOCTYPE x [<!ENTITY a "b">]>` + wmHead + "<A>&a;</A>" + wmTail,
		"an entity without a DTD":      wmHead + "<A>&a;</A>" + wmTail,
		"an external entity":           `<!DOCTYPE x SYSTEM "file:///etc/passwd">` + wmHead + wmTail,
		"an attribute twice":           wmHead + `<A b="1" b="2"/>` + wmTail,
		"an element twice":             wmHead + `<IDENTIFICATION/><IDENTIFICATION/>` + wmTail,
		"neither yes nor no":           group(`selectable="true"`),
		"no number":                    group(`componentFlags="0x1"`),
		"a number too large":           group(`componentFlags="4294967296"`),
		"a negative number":            group(`componentFlags="-1"`),
		"no hexadecimal":               group(`icon="0g"`),
		"no GUID":                      wmHead + `<IDENTIFICATION writerId="7c1f5d0e"/>` + wmTail,
		"an empty name": wmHead + `<BACKUP_LOCATIONS><FILE_GROUP componentName=""/></BACKUP_LOCATIONS>` +
			wmTail,
		"a name of 5000 bytes": group(`logicalPath="` + strings.Repeat("x", 5000) + `"`),
		"a component twice": wmHead +
			`<BACKUP_LOCATIONS><FILE_GROUP componentName="x"/><DATABASE componentName="x"/></BACKUP_LOCATIONS>` +
			wmTail,
		"a writer twice": bcHead + strings.Repeat(writer+`</WRITER_COMPONENTS>`, 2) + bcTail,
		"a chosen component twice": bcHead + writer + strings.Repeat(`<COMPONENT componentName="x"/>`, 2) +
			`</WRITER_COMPONENTS>` + bcTail,
		"a copy without an id": copies(`<SNAPSHOT_DESCRIPTION/>`),
		"a copy twice":         copies(strings.Repeat(`<SNAPSHOT_DESCRIPTION `+id+`/>`, 2)),
		"a copy of another set": copies(`<SNAPSHOT_DESCRIPTION ` + id +
			` snapshotSetId="0b0b0b0b-0000-4000-8000-000000000002"/>`),
		"more copies than volumes": copies(strings.Repeat(`<SNAPSHOT_DESCRIPTION/>`, vss.MaxVolumes+1)),
		"an extent of no LUN": copies(`<SNAPSHOT_DESCRIPTION ` + id +
			`><EXTENT lun="0" start="0" length="1"/></SNAPSHOT_DESCRIPTION>`),
		"an extent past all bounds": copies(`<SNAPSHOT_DESCRIPTION ` + id +
			`><LUN_MAPPING/><EXTENT lun="0" start="9223372036854775807" length="1"/></SNAPSHOT_DESCRIPTION>`),
		"an element that is a number":  wmHead + `<p:4 xmlns:p="urn:x"/>` + wmTail,
		"an attribute that is a dot":   wmHead + `<A xmlns:p="urn:x" p:.="b"/>` + wmTail,
		"a name that begins strangely": wmHead + "<p:\u0e46 xmlns:p=\"urn:x\"/>" + wmTail,
		"a copy of no set's id": bcHead + `<SNAPSHOT_SET_DESCRIPTION><SNAPSHOT_DESCRIPTION ` + id +
			` snapshotSetId="l"/></SNAPSHOT_SET_DESCRIPTION>` + bcTail,
		"a date that isn't one": copies(`<SNAPSHOT_DESCRIPTION ` + id + ` creationTimestamp="yesterday"/>`),
	} {
		t.Run(name, func(t *testing.T) {
			parse := func(data []byte) error { _, err := ParseMetadata(data); return err }
			if strings.Contains(text, "BACKUP_COMPONENTS") {
				parse = func(data []byte) error { _, err := Parse(data); return err }
			}
			for _, data := range [][]byte{[]byte(text), wide(text)} {
				err := parse(data)
				if name == "no UTF-8" && data[0] == 0xff || name == "UTF-16 without its mark" && data[0] == 0xff {
					continue // as UTF-16 both are right
				}
				if !errors.Is(err, vss.ErrInvalidXMLDocument) {
					t.Errorf("%.200q: %v", text, err)
				}
			}
		})
	}
	for name, data := range map[string][]byte{
		"UTF-16, half a character":  wide(wmHead + wmTail)[:99],
		"UTF-16, half a pair":       append(wide(wmHead), 0x3d, 0xd8, '<', 0),
		"UTF-16, half a pair, last": append(wide(wmHead), 0x3d, 0xd8),
		"UTF-16, second half first": append(wide(wmHead), 0x00, 0xdc, '<', 0),
	} {
		if _, err := ParseMetadata(data); !errors.Is(err, vss.ErrInvalidXMLDocument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseWriterComponents([]byte(bcHead + bcTail)); !errors.Is(err, vss.ErrInvalidXMLDocument) {
		t.Errorf("no writer where one is due: %v", err)
	}
}

// TestHostile: documents made to cost time or memory are refused before they do. All that is ever allocated counts,
// not only what is held at a time.
func TestHostile(t *testing.T) {
	const memory = 100 << 20
	flood := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ` a%d="1"`, i)
		}
		return b.String()
	}
	fill := func(what string) string { return strings.Repeat(what, (MaxSize-1000)/len(what)) }
	bomb := `<!DOCTYPE b [<!ENTITY a0 "ha">`
	for i := range 100 {
		bomb += fmt.Sprintf(`<!ENTITY a%d "&a%d;&a%d;">`, i+1, i, i)
	}
	bomb += "]>"
	in := func(head, inside, tail string) func() []byte {
		return func() []byte { return []byte(head + inside + tail) }
	}
	as16 := func(f func() []byte) func() []byte { // as large as UTF-16 may be
		return func() []byte { d := f(); return wide(string(d[:min(len(d), MaxSize/2-2)])) }
	}
	most := func(head, each, tail string) func() []byte { // as many elements as may be
		return func() []byte {
			var b strings.Builder
			for i := range maxElements - 20 {
				fmt.Fprintf(&b, each, i)
			}
			return []byte(head + b.String() + tail)
		}
	}
	for _, c := range []struct {
		name string
		data func() []byte
	}{
		{"100 MB", func() []byte { return []byte(wmHead + strings.Repeat("<A/>", 25<<20) + wmTail) }},
		{"100 MB of text",
			func() []byte { return []byte(wmHead + "<A>" + strings.Repeat("x", 100<<20) + "</A>" + wmTail) }},
		{"100 MB of zeros", func() []byte { return make([]byte, 100<<20) }},
		{"100 MB as UTF-16", func() []byte { return append([]byte{0xff, 0xfe}, make([]byte, 100<<20)...) }},
		{"more as UTF-8 than as UTF-16", func() []byte { return wide(wmHead + strings.Repeat("中", MaxSize/2-200)) }},
		{"deeply nested", in(wmHead, fill("<A>"), "")},
		{"deeply nested, few", in(wmHead, strings.Repeat("<A>", MaxDepth)+strings.Repeat("</A>", MaxDepth), wmTail)},
		{"deeply nested as UTF-16", as16(in(wmHead, fill("<A>"), ""))},
		{"entity bomb", in(bomb, wmHead+"<A>&a100;</A>", wmTail)},
		{"long DTD", in("<!DOCTYPE x "+fill("y")+">", wmHead, wmTail)},
		{"attribute flood on one element", in(wmHead+"<A", flood(1_000_000), "/>"+wmTail)},
		{"attribute flood on many", in(wmHead, strings.Repeat("<A"+flood(100)+"/>", 10_000), wmTail)},
		{"many siblings", in(wmHead, fill("<A/>"), wmTail)},
		{"many siblings as UTF-16", as16(in(wmHead, fill("<A/>"), wmTail))},
		{"many components", in(bcHead+"<WRITER_COMPONENTS>", fill(`<COMPONENT componentName="x"/>`),
			"</WRITER_COMPONENTS>"+bcTail)},
		{"many comments", in(wmHead, fill("<!---->"), wmTail)},
		{"many instructions", in(wmHead, fill("<?a?>"), wmTail)},
		{"many CDATA", in(wmHead+"<A>", fill("<![CDATA[]]>"), "</A>"+wmTail)},
		{"long comment, not ended", in(wmHead, "<!--"+fill("x"), "")},
		{"long name", in(wmHead, "<"+fill("x"), "")},
		{"long value, not ended", in(wmHead, `<A b="`+fill("x"), "")},
		{"long text, then broken", in(wmHead+"<A>", fill("x"), "</B>")},
		{"references", in(wmHead+"<A>", fill("&amp;"), "</B>")},
		{"as many tags as may be, then broken", in(wmHead, strings.Repeat(`<A b="1"/>`, maxElements-10), "</B>")},
		{"as many components as may be, then one twice",
			most(bcHead+"<WRITER_COMPONENTS>", `<COMPONENT componentName="%d"/>`,
				`<COMPONENT componentName="1"/></WRITER_COMPONENTS>`+bcTail)},
		{"as many file groups as may be, then one twice",
			most(wmHead+"<BACKUP_LOCATIONS>", `<FILE_GROUP componentName="%d"/>`,
				`<FILE_GROUP componentName="1"/></BACKUP_LOCATIONS>`+wmTail)},
		{"as many copies as may be",
			most(bcHead+"<SNAPSHOT_SET_DESCRIPTION>", "<SNAPSHOT_DESCRIPTION label=\"%d\"/>",
				"</SNAPSHOT_SET_DESCRIPTION>"+bcTail)},
		{"as many LUNs as may be, then broken",
			most(bcHead+"<SNAPSHOT_SET_DESCRIPTION><SNAPSHOT_DESCRIPTION>",
				"<LUN_MAPPING diskFlags=\"1\" a=\"%d\"/>",
				"</SNAPSHOT_DESCRIPTION></SNAPSHOT_SET_DESCRIPTION>"+bcTail)},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := c.data()
			for _, parse := range []func() error{
				func() error { _, err := ParseMetadata(data); return err },
				func() error { _, err := Parse(data); return err },
			} {
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				err := parse()
				took := time.Since(start)
				runtime.ReadMemStats(&after)
				allocated := after.TotalAlloc - before.TotalAlloc
				t.Logf("%d bytes: %v, %.1f MB allocated", len(data), took, float64(allocated)/(1<<20))
				if allocated > memory && !raced {
					t.Errorf("%d bytes allocated", allocated)
				}
				if !errors.Is(err, vss.ErrInvalidXMLDocument) {
					t.Fatalf("not refused: %v", err)
				}
				if n := len(err.Error()); n > 1000 {
					t.Errorf("an error of %d bytes", n)
				}
			}
		})
	}
}

// TestLargest: what fits the bounds is read, and nothing is written that couldn't be read.
func TestLargest(t *testing.T) {
	c := &Components{SelectComponents: true}
	for i := range 64 {
		w := &WriterComponents{
			WriterID:   vss.WriterID{GUID: vss.NewGUID()},
			InstanceID: vss.WriterInstanceID{GUID: vss.NewGUID()},
		}
		for j := range 200 {
			w.Components = append(
				w.Components,
				&Component{
					Type:           vss.ComponentFileGroup,
					Name:           fmt.Sprint(i, j),
					BackupMetadata: strings.Repeat("m", 1000),
				},
			)
		}
		c.Writers = append(c.Writers, w)
	}
	data, err := c.XML()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(data); err != nil {
		t.Fatal(err)
	}
	c.Writers[0].Components[0].BackupMetadata = strings.Repeat("m", MaxSize)
	if _, err := c.XML(); !errors.Is(err, vss.ErrInvalidXMLDocument) {
		t.Errorf("a document of more than %d bytes was written: %v", MaxSize, err)
	}
	m := &WriterMetadata{Name: "\x01"}
	if _, err := m.XML(); !errors.Is(err, vss.ErrInvalidXMLDocument) {
		t.Errorf("a character that XML hasn't was written: %v", err)
	}
}
