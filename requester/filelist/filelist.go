// Package filelist determines the files that a backup of a writer's components saves, and finds them in the shadow
// copies.
package filelist

import (
	"fmt"
	"path"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// List holds the file sets that a backup of one writer's components saves, in this order: differenced file sets,
// partial files, and the other file sets by their masks. It must be made after DoSnapshotSet, as writers may add files
// until then. Source: generating a backup set.
type List struct {
	Sets []Set
	// Faults are entries of the writer that contradict its metadata. They are ignored, so that the files they refer to
	// are saved completely.
	Faults []error
}

// Set is one file set to save.
type Set struct {
	document.FileSet                       // Path is the original directory, to which the files are restored
	Source           string                // directory to read from: the alternate path, or else Path
	Member           *document.WMComponent // the set's component; nil for files that the writer added during the backup
	Explicit         *document.Component   // the component to record the outcome with: it fails if a file of it fails
	FromCopy         bool                  // the files must be read from the shadow copy
	Since            uint64                // FILETIME: only files changed at that time or later; 0: all files
	// the only file of the set, and the ranges of it to save; nil for complete files
	Partial *document.PartialFile

	due      bool               // its mask includes the type of the backup
	excludes []document.FileSet // exclusions that overlap with the set
	earlier  []document.FileSet // former sets that overlap with it
}

// dueIn returns the bit of a mask for backups of this type. The bit for reading from the copy is eight bits higher.
func dueIn(t vss.BackupType) vss.FileSpecBackupType {
	switch t {
	case vss.BackupDifferential:
		return vss.DifferentialBackupRequired
	case vss.BackupIncremental:
		return vss.IncrementalBackupRequired
	case vss.BackupLog:
		return vss.LogBackupRequired
	}
	return vss.FullBackupRequired // also for a copy
}

const snapshotShift = 8 // from a "backup required" bit to its "snapshot required" bit

// New returns the files to save of the components in w, explicit and implicit, in a backup of type t.
func New(m *document.WriterMetadata, w *document.WriterComponents, t vss.BackupType) *List {
	l := &List{}
	t = m.EffectiveType(t)
	due := dueIn(t)
	var all, differenced []Set // sets of all included components; differenced ones
	for _, c := range m.Included(w) {
		k := m.Explicit(w, c)
		for i, f := range c.FileSets() {
			s := Set{
				FileSet:  f,
				Source:   f.Path,
				Member:   c,
				Explicit: k,
				FromCopy: f.BackupMask()&(due<<snapshotShift) != 0,
			}
			if f.AlternatePath != "" {
				s.Source = f.AlternatePath
			}
			s.due = f.BackupMask()&due != 0
			if t == vss.BackupLog { // log files of databases only
				s.due = s.due && i >= len(c.Files)+len(c.DatabaseFiles)
			}
			all = append(all, s)
		}
	}
	byTime := (t == vss.BackupIncremental || t == vss.BackupDifferential) && m.BackupSchema&vss.SchemaLastModify != 0
	for _, k := range w.Components {
		for _, d := range k.DifferencedFiles {
			if s, err := timedSet(k, d, all); byTime && err != nil {
				l.Faults = append(l.Faults, err)
			} else if byTime {
				differenced = append(differenced, s)
			}
		}
	}
	l.Sets = differenced
	for _, k := range w.Components {
		for i := range k.PartialFiles {
			p := &k.PartialFiles[i]
			if err := checkPartial(k, p, all, differenced); err != nil {
				l.Faults = append(l.Faults, err)
				continue
			}
			if ranges, ok := p.RangesFile(); ok { // saved with the backup, and restored before the data
				l.Sets = append(l.Sets, named(k, ranges, nil))
			}
			l.Sets = append(l.Sets, named(k, path.Join(p.Path, p.FileName), p))
		}
	}
	for _, s := range all {
		if s.due {
			l.Sets = append(l.Sets, s)
		}
	}
	l.relate(m.ExcludeFiles)
	return l
}

// timedSet returns the set for which a writer gave a time: one of the component's sets, or one that overlaps with none.
func timedSet(k *document.Component, d document.DifferencedFiles, all []Set) (Set, error) {
	f := document.FileSet{Path: d.Path, FileSpec: d.FileSpec, Recursive: d.Recursive}
	for _, s := range all {
		switch {
		case s.Explicit == k && same(f, s.FileSet):
			s.Since = d.Since
			return s, nil
		case f.Overlaps(s.FileSet):
			return Set{}, fmt.Errorf(
				"differenced files %s of %s overlap with file set %s, but are not the same",
				f,
				k.FullName(),
				s.FileSet,
			)
		}
	}
	return Set{FileSet: f, Source: f.Path, Explicit: k, FromCopy: true, Since: d.Since}, nil
}

// checkPartial returns an error unless the file lies at or below a path of its component and isn't a differenced one.
func checkPartial(k *document.Component, p *document.PartialFile, all, differenced []Set) error {
	if p.FileName == "" || strings.ContainsAny(p.FileName, `*?/`) {
		return fmt.Errorf("partial file %q of %s: want the name of one file", p.FileName, k.FullName())
	}
	f := document.FileSet{Path: p.Path, FileSpec: p.FileName}
	for _, s := range differenced {
		if f.Overlaps(s.FileSet) {
			return fmt.Errorf("partial file %s of %s is a differenced file, too", f, k.FullName())
		}
	}
	for _, s := range all {
		if s.Explicit == k && within(document.CleanPath(p.Path), document.CleanPath(s.Path)) {
			return nil
		}
	}
	return fmt.Errorf("partial file %s of %s does not lie below its paths", f, k.FullName())
}

// named returns the set of one file that the writer added during the backup.
func named(k *document.Component, file string, p *document.PartialFile) Set {
	dir, name := path.Split(file)
	f := document.FileSet{Path: document.CleanPath(dir), FileSpec: name}
	return Set{FileSet: f, Source: f.Path, Explicit: k, FromCopy: true, Partial: p}
}

// relate records with each set the exclusions and the former sets that overlap with it. Exclusions refer to the
// original path of a file, even if it is read from elsewhere, and apply to all components of the writer.
func (l *List) relate(excludes []document.FileSet) {
	for i := range l.Sets {
		s := &l.Sets[i]
		for _, e := range excludes {
			if e.Overlaps(s.FileSet) {
				s.excludes = append(s.excludes, e)
			}
		}
		for _, o := range l.Sets[:i] {
			if o.Overlaps(s.FileSet) {
				s.earlier = append(s.earlier, o.FileSet)
			}
		}
	}
}

// same reports whether two sets have the same files, with any masks.
func same(f, o document.FileSet) bool {
	return document.CleanPath(f.Path) == document.CleanPath(o.Path) && f.FileSpec == o.FileSpec &&
		f.Recursive == o.Recursive
}

// within reports whether a clean path is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// wild reports whether a filespec matches more than one name.
func wild(spec string) bool { return strings.ContainsAny(spec, "*?") }
