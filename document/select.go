package document

import (
	"fmt"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Selection is what a requester may do with a component. Source: working with selectability for backup.
type Selection int

// Kinds of components for selection.
const (
	Required Selection = iota // not selectable, no selectable ancestor: added whenever anything of its writer is
	Optional                  // selectable, no selectable ancestor: may be added, and brings what is below it
	Nested                    // selectable below a selectable one: may be added where none of those is
	Implicit                  // not selectable below a selectable one: comes with it, is never added
)

// Selection says which kind of component this is.
func (m *WriterMetadata) Selection(c *WMComponent) Selection {
	below := false
	for _, a := range m.Components {
		below = below || a.Selectable && c.Below(&a)
	}
	switch {
	case !below && !c.Selectable:
		return Required
	case !below:
		return Optional
	case c.Selectable:
		return Nested
	}
	return Implicit
}

// Below says whether c lies below a in the tree of logical paths, at any depth.
func (c *WMComponent) Below(a *WMComponent) bool {
	root := a.Name
	if a.LogicalPath != "" {
		root = a.LogicalPath + `\` + a.Name
	}
	return c.LogicalPath == root || strings.HasPrefix(c.LogicalPath, root+`\`)
}

// Set is a component and, if it is selectable, all that comes with it. Source: component sets.
func (m *WriterMetadata) Set(c *WMComponent) []*WMComponent {
	set := []*WMComponent{c}
	for i := range m.Components {
		if d := &m.Components[i]; c.Selectable && d.Below(c) {
			set = append(set, d)
		}
	}
	return set
}

// Top are the components that a backup of everything adds: the required ones and the optional ones.
func (m *WriterMetadata) Top() []*WMComponent {
	var top []*WMComponent
	for i := range m.Components {
		if c := &m.Components[i]; m.Selection(c) <= Optional {
			top = append(top, c)
		}
	}
	return top
}

// Validate checks what a writer gave at Identify. Errors: E_INVALIDARG, VSS_E_OBJECT_ALREADY_EXISTS.
// Source: IVssCreateWriterMetadata.
func (m *WriterMetadata) Validate() error {
	bad := func(object string, code vss.Code, format string, args ...any) error {
		return vss.E("Identify", code, fmt.Errorf(format, args...)).On(object).Advise("the writer's metadata is at fault; fix the writer")
	}
	for i := range m.Components {
		c := &m.Components[i]
		full := c.LogicalPath + `\` + c.Name
		switch {
		case c.Name == "" || strings.Contains(c.Name, `\`):
			return bad(full, vss.ErrInvalidArg, `a component's name is neither empty nor has a \`)
		case c.LogicalPath != "" && strings.Trim(c.LogicalPath, `\`) != c.LogicalPath:
			return bad(full, vss.ErrInvalidArg, `a logical path neither begins nor ends with \`)
		case m.Component(c.LogicalPath, c.Name) != c:
			return bad(full, vss.ErrObjectAlreadyExists, "the component is there twice")
		case c.Type != vss.ComponentFileGroup && c.Type != vss.ComponentDatabase:
			return bad(full, vss.ErrInvalidArg, "a component is a filegroup or a database")
		case c.Type == vss.ComponentFileGroup && len(c.DatabaseFiles)+len(c.DatabaseLogFiles) > 0:
			return bad(full, vss.ErrInvalidArg, "a filegroup has no database files")
		case c.Type == vss.ComponentDatabase && len(c.Files) > 0:
			return bad(full, vss.ErrInvalidArg, "a database has database files and log files only")
		}
		for _, f := range c.FileSets() {
			if c.Type == vss.ComponentDatabase && (f.Recursive || f.AlternatePath != "") {
				return bad(full, vss.ErrInvalidArg, "a database's file set is neither recursive nor has it an alternate path")
			}
			if err := f.check(); err != nil {
				return bad(full, vss.ErrInvalidArg, "%w", err)
			}
		}
	}
	for _, f := range append(append([]FileSet{}, m.ExcludeFiles...), m.ExcludeFilesFromSnapshot...) {
		if err := f.check(); err != nil {
			return bad(f.Path, vss.ErrInvalidArg, "%w", err)
		}
	}
	return nil
}

func (f *FileSet) check() error {
	switch {
	case f.Path == "" || strings.ContainsAny(f.Path, "*?"):
		return fmt.Errorf("path %q: a file set needs a path without wildcards", f.Path)
	case f.FileSpec == "" || strings.ContainsAny(f.FileSpec, `/\`):
		return fmt.Errorf("filespec %q: a file set needs a filespec without directories", f.FileSpec)
	}
	return nil
}
