package document

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// parsed is either document.
type parsed interface{ XML() ([]byte, error) }

func parseSample(name string, data []byte) (parsed, error) {
	if strings.HasPrefix(filepath.Base(name), "metadata-") {
		return ParseMetadata(data)
	}
	return Parse(data)
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// facts are all that an element says, one line each: attributes but empty ones, text, and that the element is there.
func facts(n *node, at string, out map[string]int) {
	if n.name.Local == "" {
		if s := strings.TrimSpace(n.text); s != "" {
			out[at+" text "+s]++
		}
		return
	}
	at += "/" + n.name.Space + "|" + n.name.Local
	out[at]++
	for _, a := range n.attrs {
		value := a.Value
		if g, err := vss.ParseGUID(value); err == nil {
			value = g.Plain()
		}
		if value != "" {
			out[fmt.Sprintf("%s %s|%s=%q", at, a.Name.Space, a.Name.Local, value)]++
		}
	}
	for _, c := range n.children {
		facts(c, at, out)
	}
}

func factsOf(t *testing.T, data []byte) map[string]int {
	t.Helper()
	n, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	facts(n, "", out)
	return out
}

// TestSamples: what is written says everything that was read, and reads as the same.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(files) < 11 {
		t.Fatalf("%d samples: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data := sample(t, filepath.Base(file))
			first, err := parseSample(file, data)
			if err != nil {
				t.Fatal(err)
			}
			written, err := first.XML()
			if err != nil {
				t.Fatal(err)
			}
			second, err := parseSample(file, written)
			if err != nil {
				t.Fatalf("what was written can't be read: %v\n%s", err, written)
			}
			if d := cmp.Diff(first, second); d != "" {
				t.Errorf("read, written, read (-first +second):\n%s", d)
			}
			again, err := second.XML()
			if err != nil || string(again) != string(written) {
				t.Errorf("the second writing differs (%v):\n%s\n%s", err, written, again)
			}
			after := factsOf(t, written)
			for fact, n := range factsOf(t, data) {
				if after[fact] < n {
					t.Errorf("lost: %s", fact)
				}
			}
		})
	}
}

// TestSamplesAreComplete: the two full samples have every element and attribute of the schema with a value of its own.
func TestSamplesAreComplete(t *testing.T) {
	m, err := ParseMetadata(sample(t, "metadata-every.xml"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(sample(t, "components-every.xml"))
	if err != nil {
		t.Fatal(err)
	}
	for what, v := range map[string]any{"metadata": m, "components": c} {
		for _, field := range unset(v) {
			if what == "components" && field == "document.FileSet.Mask" {
				continue // of the metadata's file sets only
			}
			t.Errorf("%s: nothing fills %s", what, field)
		}
	}
}

// TestRealDocuments: what Windows writes is understood.
func TestRealDocuments(t *testing.T) {
	metadata := func(name string) *WriterMetadata {
		m, err := ParseMetadata(sample(t, name))
		if err != nil {
			t.Fatal(name, err)
		}
		return m
	}
	m := metadata("metadata-excludes-only.xml")
	if m.RestoreMethod != nil || len(m.Components) != 0 || len(m.ExcludeFiles) != 1 ||
		len(m.ExcludeFilesFromSnapshot) != 2 ||
		m.ExcludeFilesFromSnapshot[0].Path != `\Windows\SoftwareDistribution` ||
		m.BackupSchema != 0 {
		t.Errorf("exclusions only: %+v", m)
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	m = metadata("metadata-database.xml")
	if m.WriterID.GUID != vss.MustGUID("a65faa63-5ea8-4ebc-9dbd-a0c4db26912a") || m.BackupSchema != 0x371 ||
		m.Source != vss.SourceTransactedDB || m.RestoreMethod.Method != vss.RestoreIfCanReplace ||
		m.RestoreMethod.WriterRestore != vss.WriterRestoreAlways || len(m.Components) != 2 ||
		m.Components[0].Type != vss.ComponentFileGroup || m.Components[0].Files[0].Mask != 3855 ||
		m.Components[0].Files[0].Recursive ||
		!m.Components[1].Files[0].Recursive || m.Components[1].Flags != 3 || !m.Components[1].NotifyOnBackupComplete ||
		len(m.ExcludeFiles) != 1 {
		t.Errorf("database: %+v", m)
	}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	m = metadata("metadata-markers.xml")
	if m.Usage != vss.UsageUndefined || len(m.Components) != 3 || len(m.Components[0].FileSets()) != 0 ||
		m.Components[1].Selectable {
		t.Errorf("markers: %+v", m)
	}
	m.Usage = vss.UsageUserData
	if data, err := m.XML(); err != nil || strings.Contains(string(data), "SOMETHING_NEW") {
		t.Errorf("a word that wasn't known survives the one that replaces it: %s, %v", data, err)
	}
	for _, name := range []string{"metadata-utf16le.xml", "metadata-utf16be.xml", "metadata-utf8bom.xml"} {
		if m := metadata(name); m.Name != "Schreiber äöü 中文 💾" || m.Components[0].Files[0].Path != "/srv/💾" {
			t.Errorf("%s: %q, %+v", name, m.Name, m.Components)
		}
	}
	for name, host := range map[string]string{"components-system-state.xml": "HOST", "components-utf16le.xml": "HÖST"} {
		c, err := Parse(sample(t, name))
		if err != nil {
			t.Fatal(err)
		}
		class := vss.WriterID{GUID: vss.MustGUID("a65faa63-5ea8-4ebc-9dbd-a0c4db26912a")}
		w := c.Writer(class, vss.WriterInstanceID{GUID: vss.MustGUID("1C7F9B0E-5D0B-4A0F-8F62-9F0B2D5F7A31")})
		if w == nil || w.BackupSchema != 881 || c.BackupType != vss.BackupFull || !c.BootableSystemState ||
			c.Transportable() {
			t.Fatalf("%s: %+v", name, c)
		}
		k := w.Component(host+`\INSTANCE`, "master")
		if k == nil || k.BackupStamp != "UwBRAEwA" || k.BackupMetadata != "PABtAGQAPgA=" ||
			k.Type != vss.ComponentFileGroup {
			t.Errorf("%s: %+v", name, k)
		}
	}
	c, err := Parse(sample(t, "components-transport-elsewhere.xml"))
	if err != nil {
		t.Fatal(err)
	}
	set := c.SnapshotSet
	if !c.Transportable() || set.Snapshots[0].SetID != set.ID ||
		set.Snapshots[0].LUNs[0].Destination.DiskSignature != vss.MustGUID("8f8a1d9e-2b0c-4d7a-9c0f-0a1b2c3d4e5f") {
		t.Errorf("transport: %+v", set)
	}
}

// TestLeaveOut: an attribute or a child element that is missing doesn't invalidate a document, but for versions
// and names.
func TestLeaveOut(t *testing.T) {
	for _, name := range []string{"metadata-every.xml", "components-system-state.xml"} {
		root, err := parse(sample(t, name))
		if err != nil {
			t.Fatal(err)
		}
		var visit func(n *node)
		try := func(what string, bad bool) {
			data, err := rendered(root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parseSample(name, data); (err != nil) != bad {
				t.Errorf("%s without %s: %v", name, what, err)
			}
		}
		visit = func(n *node) {
			for i, a := range slices.Clone(n.attrs) {
				n.attrs = slices.Delete(n.attrs, i, i+1)
				try(
					n.name.Local+" "+a.Name.Local,
					a.Name.Local == "version" && n == root || a.Name.Local == "componentName",
				)
				n.attrs = slices.Insert(n.attrs, i, a)
			}
			for i, c := range slices.Clone(n.children) {
				n.children = slices.Delete(n.children, i, i+1)
				try(c.name.Local, false)
				n.children = slices.Insert(n.children, i, c)
				visit(c)
			}
		}
		visit(root)
	}
}
