package document

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	maxPath     = 4096    // bytes: PATH_MAX
	maxFileSpec = 255     // bytes: NAME_MAX
	maxFileSets = 1 << 14 // of one writer

	maxComparisons = 1 << 20 // of file sets that may overlap

	knownFlags  = vss.ComponentBackupRecovery | vss.ComponentAppRollbackRecovery | vss.ComponentNotSystemState
	knownMask   = vss.AllBackupRequired | vss.AllSnapshotRequired | vss.CreatedDuringBackup
	knownSchema = 0xffff &^ (0x0800 | vss.SchemaLSN) // one bit is unused, one reserved
)

// Validate checks the metadata that a writer returned at Identify, by the rules of the calls that build such metadata.
// Errors: E_INVALIDARG, VSS_E_OBJECT_ALREADY_EXISTS, VSS_E_OBJECT_NOT_FOUND for a mapping of a file set that doesn't
// exist.
// Source: IVssCreateWriterMetadata; VSS_BACKUP_SCHEMA.
func (m *WriterMetadata) Validate() error {
	bad := func(object string, code vss.Code, err error) error {
		return vss.E("Identify", code, err).On(object).Advise("correct the metadata that the writer returns")
	}
	if m.Usage < 0 || int(m.Usage) >= len(usageWords) || m.Source < 0 || int(m.Source) >= len(sourceWords) {
		return bad(m.Name, vss.ErrInvalidArg, fmt.Errorf("usage %d, source %d: out of range", m.Usage, m.Source))
	}
	seen := map[[2]string]bool{}
	for i := range m.Components {
		c := &m.Components[i]
		if seen[[2]string{c.LogicalPath, c.Name}] {
			return bad(c.FullName(), vss.ErrObjectAlreadyExists, fmt.Errorf("duplicate component"))
		}
		err := distinct(seen, c.LogicalPath, c.Name)
		if err == nil {
			err = c.check(m.WriterID)
		}
		if err != nil {
			return bad(c.FullName(), vss.ErrInvalidArg, err)
		}
	}
	for _, list := range [][]FileSet{m.ExcludeFiles, m.ExcludeFilesFromSnapshot} {
		for i := range list {
			if err := list[i].check(); err != nil {
				return bad(list[i].Path, vss.ErrInvalidArg, err)
			}
		}
	}
	if err := m.overlap(); err != nil {
		return bad(m.Name, vss.ErrInvalidArg, err)
	}
	if err := m.checkSchema(); err != nil {
		return bad(m.Name, vss.ErrInvalidArg, err)
	}
	if code, err := m.checkRestoreMethod(); err != nil {
		return bad(m.Name, code, err)
	}
	if _, err := m.XML(); err != nil { // text or size that a document can't represent
		return bad(m.Name, vss.ErrInvalidArg, err)
	}
	return nil
}

func (c *WMComponent) check(writer vss.WriterID) error {
	switch {
	case strings.Contains(c.Name, `\`):
		return fmt.Errorf(`a component's name has no \`)
	case c.LogicalPath != "" && strings.Trim(c.LogicalPath, `\`) != c.LogicalPath:
		return fmt.Errorf(`a logical path neither begins nor ends with \`)
	case c.Type != vss.ComponentFileGroup && c.Type != vss.ComponentDatabase:
		return fmt.Errorf("a component must be a filegroup or a database")
	case c.Type == vss.ComponentFileGroup && len(c.DatabaseFiles)+len(c.DatabaseLogFiles) > 0:
		return fmt.Errorf("a filegroup can't have database files")
	case c.Type == vss.ComponentDatabase && len(c.Files) > 0:
		return fmt.Errorf("a database can only have database files and log files")
	case c.Flags&^knownFlags != 0:
		return fmt.Errorf("invalid flags %#x; want a subset of %#x", uint32(c.Flags), uint32(knownFlags))
	}
	for _, f := range c.FileSets() {
		switch {
		case c.Type == vss.ComponentDatabase && (f.Recursive || f.AlternatePath != ""):
			return fmt.Errorf("a file set of a database can't be recursive or have an alternate path")
		case f.Mask&^knownMask != 0:
			return fmt.Errorf("invalid mask %#x; want a subset of %#x", uint32(f.Mask), uint32(knownMask))
		}
		if err := f.check(); err != nil {
			return err
		}
	}
	for _, d := range c.Dependencies {
		switch {
		case d.WriterID.IsZero() || d.Name == "" || strings.Contains(d.Name, `\`):
			return fmt.Errorf(
				`dependency on %s: it needs a writer and a name without \`,
				fullName(d.LogicalPath, d.Name),
			)
		case d.WriterID == writer && !strings.HasPrefix(d.LogicalPath, `\\`):
			return fmt.Errorf("dependency on %s of the same writer", fullName(d.LogicalPath, d.Name))
		}
	}
	return nil
}

func (f *FileSet) check() error {
	switch {
	case f.Path == "" || strings.ContainsAny(strings.TrimPrefix(f.Path, `\\?\`), "*?") || len(f.Path) > maxPath:
		return fmt.Errorf(
			"invalid path %.80q of a file set; want a path without wildcards of at most %d bytes",
			f.Path,
			maxPath,
		)
	case f.FileSpec == "" || strings.ContainsAny(f.FileSpec, `/\`) || len(f.FileSpec) > maxFileSpec:
		return fmt.Errorf(
			"invalid filespec %.80q; want one without directories of at most %d bytes",
			f.FileSpec,
			maxFileSpec,
		)
	case strings.ContainsAny(f.AlternatePath, "*?"):
		return fmt.Errorf("alternate path %q has wildcards", f.AlternatePath)
	}
	return nil
}

// claim is a file set with its component.
type claim struct {
	FileSet
	dir   string
	owner *WMComponent
}

// claims are the file sets of one directory. Most name one file, and need not be compared with each other.
type claims struct {
	files map[string]claim
	wild  []claim
}

// overlap returns an error if two file sets include the same file.
func (m *WriterMetadata) overlap() error {
	var all []claim
	for i := range m.Components {
		for _, f := range m.Components[i].FileSets() {
			all = append(all, claim{f, CleanPath(f.Path), &m.Components[i]})
		}
	}
	if len(all) > maxFileSets {
		return fmt.Errorf("%d file sets; the limit is %d", len(all), maxFileSets)
	}
	slices.SortStableFunc(all, func(a, b claim) int { return len(a.dir) - len(b.dir) }) // parents before children
	at := map[string]*claims{}
	compared := 0
	for _, f := range all {
		for dir, up := f.dir, ""; dir != up; up, dir = dir, parentPath(dir) {
			there := at[dir]
			if there == nil {
				continue
			}
			if compared += len(there.wild) + 1; wild(f.FileSpec) {
				compared += len(there.files)
			}
			if compared > maxComparisons {
				return fmt.Errorf("too many file sets with wildcards, of directories within each other")
			}
			if o, ok := there.meets(f); ok {
				return fmt.Errorf(
					"file sets %s of %s and %s of %s overlap",
					o.FileSet,
					o.owner.FullName(),
					f.FileSet,
					f.owner.FullName(),
				)
			}
		}
		there := at[f.dir]
		if there == nil {
			there = &claims{files: map[string]claim{}}
			at[f.dir] = there
		}
		if there.files[f.FileSpec] = f; wild(f.FileSpec) || f.Recursive {
			delete(there.files, f.FileSpec)
			there.wild = append(there.wild, f)
		}
	}
	return nil
}

// meets returns a set that overlaps with f, which has the same directory or one below.
func (c *claims) meets(f claim) (claim, bool) {
	for _, o := range c.wild {
		if (f.dir == o.dir || o.Recursive) && specsMeet(f.FileSpec, o.FileSpec) {
			return o, true
		}
	}
	if !wild(f.FileSpec) {
		o, ok := c.files[f.FileSpec]
		return o, ok && f.dir == o.dir
	}
	for _, o := range c.files {
		if f.dir == o.dir && MatchSpec(f.FileSpec, o.FileSpec) {
			return o, true
		}
	}
	return claim{}, false
}

// checkSchema checks bits of the backup schema that depend on others.
func (m *WriterMetadata) checkSchema() error {
	s := m.BackupSchema
	const partial = vss.SchemaDifferential | vss.SchemaIncremental
	logs := false
	for i := range m.Components {
		logs = logs || len(m.Components[i].DatabaseLogFiles) > 0
	}
	switch {
	case s&^knownSchema != 0:
		return fmt.Errorf("backup schema %#x: bits %#x are unused or reserved", uint32(s), uint32(s&^knownSchema))
	case s&vss.SchemaExclusiveIncrementalDifferential != 0 && s&partial != partial:
		return fmt.Errorf("backup schema: exclusive incremental and differential needs both of them")
	case s&vss.SchemaLog != 0 && !logs:
		return fmt.Errorf("backup schema: log needs a component with log files")
	case s&vss.SchemaTimestamped != 0 && s&partial == 0:
		return fmt.Errorf("backup schema: timestamped needs incremental or differential")
	case s&vss.SchemaLastModify != 0 && s&partial == 0:
		return fmt.Errorf("backup schema: last-modify needs incremental or differential")
	case s&vss.SchemaRestoreWithMove != 0 && m.InstanceName == "":
		return fmt.Errorf("backup schema: restore with move needs an instance name")
	}
	return nil
}

func (m *WriterMetadata) checkRestoreMethod() (vss.Code, error) {
	r := m.RestoreMethod
	if r == nil {
		return vss.OK, nil
	}
	stops := r.Method == vss.StopRestoreStart || r.Method == vss.RestoreStopStart
	switch {
	case r.Method <= 0 || int(r.Method) >= len(methodWords):
		return vss.ErrInvalidArg, fmt.Errorf("invalid restore method %d", r.Method)
	case r.WriterRestore <= 0 || int(r.WriterRestore) >= len(writerRestoreWords):
		return vss.ErrInvalidArg, fmt.Errorf("invalid value %d of writer restore", r.WriterRestore)
	case stops != (r.Service != ""):
		return vss.ErrInvalidArg, fmt.Errorf(
			"restore method %s with service %q: only methods that stop a service require its name",
			r.Method,
			r.Service,
		)
	case r.Method == vss.RestoreToAlternateLocation && len(r.AlternateLocations) == 0:
		return vss.ErrInvalidArg, fmt.Errorf("restore method %s without a mapping", r.Method)
	}
	type key struct {
		path, spec string
		recursive  bool
	}
	sets := map[key]bool{}
	for i := range m.Components {
		for _, f := range m.Components[i].FileSets() {
			sets[key{CleanPath(f.Path), f.FileSpec, f.Recursive}] = true
		}
	}
	for _, a := range r.AlternateLocations {
		switch {
		case a.AlternatePath == "" || strings.ContainsAny(a.AlternatePath, "*?"):
			return vss.ErrInvalidArg, fmt.Errorf(
				"mapping of %s: the destination must not be empty or have wildcards",
				a,
			)
		case !sets[key{CleanPath(a.Path), a.FileSpec, a.Recursive}]:
			return vss.ErrObjectNotFound, fmt.Errorf("mapping of %s: no such file set", a)
		}
	}
	return vss.OK, nil
}
