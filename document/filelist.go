package document

import (
	"fmt"
	"path"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// FileList is what a backup of one writer's components has to save, in this order: differenced file sets, partial files, and
// the other file sets by their masks. It is made after DoSnapshotSet: until then a writer may still name files.
// Source: generating a backup set.
type FileList struct {
	Sets []BackupSet
	// Faults are entries of the writer that contradict its metadata. They were left out; what they meant is saved whole.
	Faults []error
}

// BackupSet is one file set to save.
type BackupSet struct {
	FileSet               // Path is where the files belong, and where they will be restored
	Source   string       // directory to read them from: the alternate path where there is one, else Path
	Member   *WMComponent // the component that the set is of; nil for files that the writer named during the backup only
	Explicit *Component   // where the outcome is noted: one file that fails fails this one
	FromCopy bool         // the files must be read from the shadow copy
	Since    uint64       // FILETIME: only files changed from then on; 0: all of them
	Partial  *PartialFile // the one file of the set, of which only these ranges are needed; nil for whole files

	due      bool      // its mask has the type of the backup
	excludes []FileSet // those that may hit files of the set
	earlier  []FileSet // sets before this one that may claim files of it
}

// EffectiveType is the type of backup that a writer makes of what was asked for: one outside its schema is a full one.
func (m *WriterMetadata) EffectiveType(t vss.BackupType) vss.BackupType {
	needs := map[vss.BackupType]vss.BackupSchema{
		vss.BackupIncremental: vss.SchemaIncremental, vss.BackupDifferential: vss.SchemaDifferential,
		vss.BackupLog: vss.SchemaLog, vss.BackupCopy: vss.SchemaCopy,
	}
	if bit, ok := needs[t]; !ok || m.BackupSchema&bit == 0 {
		return vss.BackupFull
	}
	return t
}

// dueIn is the bit of a mask that says: saved in backups of this type. Eight bits higher: read from the copy.
func dueIn(t vss.BackupType) vss.FileSpecBackupType {
	switch t {
	case vss.BackupDifferential:
		return vss.DifferentialBackupRequired
	case vss.BackupIncremental:
		return vss.IncrementalBackupRequired
	case vss.BackupLog:
		return vss.LogBackupRequired
	}
	return vss.FullBackupRequired // a copy saves what a full backup saves
}

const snapshotShift = 8 // from a "backup required" bit to its "snapshot required" bit

// BackupFiles lists what is to be saved of the components in w, explicit and implicit, in a backup of this type.
func (m *WriterMetadata) BackupFiles(w *WriterComponents, t vss.BackupType) *FileList {
	l := &FileList{}
	t = m.EffectiveType(t)
	due := dueIn(t)
	var all, differenced []BackupSet // all of the included components, due or not; those by time
	for _, c := range m.Included(w) {
		k := m.explicit(w, c)
		for i, f := range c.FileSets() {
			s := BackupSet{FileSet: f, Source: f.Path, Member: c, Explicit: k, FromCopy: f.BackupMask()&(due<<snapshotShift) != 0}
			if f.AlternatePath != "" {
				s.Source = f.AlternatePath
			}
			s.due = f.BackupMask()&due != 0
			if t == vss.BackupLog { // the log files of databases, nothing else
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

// timedSet is the set that a writer gave a time for: one of the component's as it is, or one that meets none at all.
func timedSet(k *Component, d DifferencedFiles, all []BackupSet) (BackupSet, error) {
	f := FileSet{Path: d.Path, FileSpec: d.FileSpec, Recursive: d.Recursive}
	for _, s := range all {
		switch {
		case s.Explicit == k && f.same(s.FileSet):
			s.Since = d.Since
			return s, nil
		case f.meets(s.FileSet):
			return BackupSet{}, fmt.Errorf("differenced files %s of %s meet file set %s without being the same", f, k.FullName(), s.FileSet)
		}
	}
	return BackupSet{FileSet: f, Source: f.Path, Explicit: k, FromCopy: true, Since: d.Since}, nil
}

// checkPartial: a partial file lies at or below a path of its component and isn't a differenced one as well.
func checkPartial(k *Component, p *PartialFile, all, differenced []BackupSet) error {
	if p.FileName == "" || strings.ContainsAny(p.FileName, `*?/`) {
		return fmt.Errorf("partial file %q of %s: the name of one file is due", p.FileName, k.FullName())
	}
	f := FileSet{Path: p.Path, FileSpec: p.FileName}
	for _, s := range differenced {
		if f.meets(s.FileSet) {
			return fmt.Errorf("partial file %s of %s is a differenced one too", f, k.FullName())
		}
	}
	for _, s := range all {
		if s.Explicit == k && within(cleanPath(p.Path), cleanPath(s.Path)) {
			return nil
		}
	}
	return fmt.Errorf("partial file %s of %s lies below none of its paths", f, k.FullName())
}

// named is one file, by its full path, that the writer named during the backup.
func named(k *Component, file string, p *PartialFile) BackupSet {
	dir, name := path.Split(file)
	f := FileSet{Path: cleanPath(dir), FileSpec: name}
	return BackupSet{FileSet: f, Source: f.Path, Explicit: k, FromCopy: true, Partial: p}
}

// RangesFile is the path of the file that holds the ranges, where the ranges are not in the text itself.
func (p PartialFile) RangesFile() (string, bool) {
	file, ok := strings.CutPrefix(p.Ranges, "File=")
	return file, ok || strings.HasPrefix(file, "/")
}

// relate notes at each set which exclusions and which earlier sets can hit its files. What is excluded is so by the path where
// it belongs, whatever place it is read from, and for all components of the writer.
func (l *FileList) relate(excludes []FileSet) {
	for i := range l.Sets {
		s := &l.Sets[i]
		for _, e := range excludes {
			if e.meets(s.FileSet) {
				s.excludes = append(s.excludes, e)
			}
		}
		for _, o := range l.Sets[:i] {
			if o.meets(s.FileSet) {
				s.earlier = append(s.earlier, o.FileSet)
			}
		}
	}
}

func (f FileSet) same(o FileSet) bool {
	return cleanPath(f.Path) == cleanPath(o.Path) && f.FileSpec == o.FileSpec && f.Recursive == o.Recursive
}

// meets says whether both can have a file in common.
func (f FileSet) meets(o FileSet) bool {
	a, b := cleanPath(f.Path), cleanPath(o.Path)
	return (a == b || f.Recursive && within(b, a) || o.Recursive && within(a, b)) && specsMeet(f.FileSpec, o.FileSpec)
}

// has says whether a file of this directory, in its clean form, and name is one of the set.
func (f FileSet) has(dir, name string) bool {
	p := cleanPath(f.Path)
	return (dir == p || f.Recursive && within(dir, p)) && MatchSpec(f.FileSpec, name)
}

// within says whether a clean path is another or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
