package document_test

import (
	"fmt"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// notes are the metadata of a writer with a required and an optional component.
func notes() *document.WriterMetadata {
	return &document.WriterMetadata{
		WriterID: vss.WriterID{GUID: vss.MustGUID("{6f1f6b52-5c0e-4a3c-9a86-2f0f8a0a7d11}")},
		Name:     "Notes", Usage: vss.UsageUserData, Source: vss.SourceOther, Version: document.Version{Major: 1},
		RestoreMethod: &document.RestoreMethod{
			Method: vss.RestoreIfCanReplace, WriterRestore: vss.WriterRestoreAlways,
		},
		Components: []document.WMComponent{
			{Type: vss.ComponentFileGroup, Name: "index", Files: []document.FileSet{
				{Path: "/srv/notes", FileSpec: "index.db"},
			}},
			{Type: vss.ComponentFileGroup, Name: "pages", Selectable: true, Files: []document.FileSet{
				{Path: "/srv/notes/pages", FileSpec: "*", Recursive: true},
			}},
		},
	}
}

// A requester adds the components of a writer to its document, and saves it with the backup.
func Example() {
	m := notes()
	if err := m.Validate(); err != nil {
		fmt.Println(err)
	}
	w := &document.WriterComponents{WriterID: m.WriterID}
	for _, c := range m.Top() {
		if err := m.CheckAdd(w, c); err != nil {
			fmt.Println(err)
			continue
		}
		w.Components = append(w.Components, &document.Component{Type: c.Type, Name: c.Name})
	}
	backup := document.Components{
		SelectComponents: true, BackupType: vss.BackupFull, Writers: []*document.WriterComponents{w},
	}
	text, err := backup.XML()
	if err != nil {
		fmt.Println(err)
	}
	saved, err := document.Parse(text)
	if err != nil {
		fmt.Println(err)
	}
	for _, c := range saved.Writers[0].Components {
		fmt.Println(c.FullName(), c.Type)
	}
	// Output:
	// index filegroup
	// pages filegroup
}

// A component that isn't selectable, and has no selectable component above it, is part of every backup of its writer.
func ExampleWriterMetadata_Selection() {
	m := notes()
	for i := range m.Components {
		c := &m.Components[i]
		fmt.Println(c.Name, m.Selection(c) == document.Required)
	}
	// Output:
	// index true
	// pages false
}

func ExampleMatchSpec() {
	fmt.Println(document.MatchSpec("*.db", "index.db"), document.MatchSpec("?", "ab"))
	// Output: true false
}
