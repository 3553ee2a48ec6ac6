package filelist_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester/filelist"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The files of a component are read below the folder where the copies are mounted.
func Example() {
	copies, err := os.MkdirTemp("", "copies")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(copies)
	if err := os.MkdirAll(filepath.Join(copies, "srv/notes"), 0o755); err != nil {
		fmt.Println(err)
	}
	if err := os.WriteFile(filepath.Join(copies, "srv/notes/a.txt"), []byte("a"), 0o644); err != nil {
		fmt.Println(err)
	}
	m := &document.WriterMetadata{Components: []document.WMComponent{{
		Type: vss.ComponentFileGroup, Name: "notes",
		Files: []document.FileSet{{Path: "/srv/notes", FileSpec: "*.txt"}},
	}}}
	chosen := &document.WriterComponents{
		Components: []*document.Component{{Type: vss.ComponentFileGroup, Name: "notes"}},
	}
	list := filelist.New(m, chosen, vss.BackupFull)
	err = list.Walk(copies, func(f filelist.File, err error) error {
		fmt.Println(f.Path, err)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: /srv/notes/a.txt <nil>
}
