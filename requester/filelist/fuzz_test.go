package filelist

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// FuzzNew: any valid metadata give a list without faults.
func FuzzNew(f *testing.F) {
	samples, err := filepath.Glob("../../document/testdata/metadata-*.xml")
	if err != nil || len(samples) == 0 {
		f.Fatal(samples, err)
	}
	for _, name := range samples {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := document.ParseMetadata(data)
		if err != nil || m.Validate() != nil {
			return
		}
		w := &document.WriterComponents{}
		for _, c := range m.Top() {
			k := &document.Component{Type: c.Type, LogicalPath: c.LogicalPath, Name: c.Name}
			w.Components = append(w.Components, k)
		}
		if l := New(m, w, vss.BackupFull); len(l.Faults) > 0 {
			t.Fatal(l.Faults)
		}
	})
}
