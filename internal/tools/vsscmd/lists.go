package vsscmd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The lists that a command finds, in a folder of its own.
const (
	listLines  = "files"  // one path a line; VSS_FILES_FROM
	listNULs   = "files0" // each path ends with NUL; VSS_FILES_FROM0
	listFaults = "faults" // for us: what could not be listed
)

// listVariables tell a command where the lists are.
func listVariables(folder string) []string {
	return []string{"VSS_FILES_FROM=" + filepath.Join(folder, listLines), "VSS_FILES_FROM0=" + filepath.Join(folder, listNULs)}
}

// listTask is what to list for a backup: the files of all components that were chosen.
type listTask struct {
	Folder string
	Type   vss.BackupType
	// Writers are those with components: their metadata, and a document of their components alone.
	Writers []struct{ Metadata, Components []byte }
}

// listFault is a component of which something can't be had.
type listFault struct {
	Writer   vss.WriterInstanceID
	FullName string
	Why      string
}

// lister writes the lists from where the command will read the files.
type lister struct {
	folder  string
	writers []*listedWriter
	faults  []listFault
}

type listedWriter struct {
	instance vss.WriterInstanceID
	name     string
	list     *document.FileList
}

// read makes the lists of file sets. There is nothing to do without a task.
func (t *listTask) read() (*lister, error) {
	if t == nil {
		return nil, nil
	}
	l := &lister{folder: t.Folder}
	for _, w := range t.Writers {
		m, err := document.ParseMetadata(w.Metadata)
		if err != nil {
			return nil, err
		}
		c, err := document.ParseWriterComponents(w.Components)
		if err != nil {
			return nil, err
		}
		l.writers = append(l.writers, &listedWriter{c.InstanceID, m.Name, m.BackupFiles(c, t.Type)})
	}
	return l, nil
}

// shared are the folders that the command must see as they are: that of the lists, and those whose files needn't come from a
// copy. One in which other files must come from the copy isn't among them: there all files do.
func (l *lister) shared() []string {
	if l == nil {
		return nil
	}
	out := []string{l.folder}
	for _, s := range l.sets() {
		dir := path.Clean(s.Source)
		if s.FromCopy || !strings.HasPrefix(dir, "/") {
			continue
		}
		mixed := false
		for _, o := range l.sets() {
			other := path.Clean(o.Source)
			mixed = mixed || o.FromCopy && (dir == other || o.Recursive && below(dir, other) || below(other, dir))
		}
		if !mixed {
			out = append(out, dir)
		}
	}
	return out
}

func below(p, dir string) bool { return strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") }

func (l *lister) sets() []document.BackupSet {
	var out []document.BackupSet
	for _, w := range l.writers {
		out = append(out, w.list.Sets...)
	}
	return out
}

// write lists the files, by the paths that the command sees. What can't be listed fails its component and no other.
func (l *lister) write(overlays []overlay) error {
	if l == nil {
		return nil
	}
	copies := map[uint64]bool{} // devices of the copies
	for _, o := range overlays {
		var st unix.Stat_t
		if unix.Stat(o.Volume, &st) == nil { // where the copy is now
			copies[st.Dev] = true
		}
	}
	out, err := newLists(l.folder)
	if err != nil {
		return err
	}
	for _, w := range l.writers {
		for _, f := range w.list.Faults {
			fmt.Fprintf(os.Stderr, "vss: warning: %s: %v\n", w.name, f)
		}
		dir, onCopy := "", false
		err := w.list.Walk("/", func(f document.File, err error) error {
			at := filepath.Dir(f.At)
			if f.Dir {
				at = f.At
			}
			if err == nil && f.Set.FromCopy {
				if at != dir {
					var st unix.Stat_t
					dir, onCopy = at, unix.Stat(at, &st) == nil && copies[st.Dev]
				}
				if !onCopy {
					err = fmt.Errorf("%s isn't on a volume of the set", at)
				}
			}
			if err != nil {
				l.fault(w, f.Set.Explicit, err)
				return nil
			}
			return out.add(f.Source)
		})
		if err != nil {
			return errors.Join(err, out.close())
		}
	}
	if err := out.close(); err != nil {
		return err
	}
	text, err := json.Marshal(l.faults)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.folder, listFaults), text, 0o600)
}

// fault notes a component's first failure.
func (l *lister) fault(w *listedWriter, c *document.Component, err error) {
	for _, f := range l.faults {
		if f.Writer == w.instance && f.FullName == c.FullName() {
			return
		}
	}
	l.faults = append(l.faults, listFault{w.instance, c.FullName(), err.Error()})
}

// readFaults are what the lister could not list. Errors: it didn't come to its end.
func readFaults(folder string) ([]listFault, error) {
	text, err := os.ReadFile(filepath.Join(folder, listFaults))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the helper failed, and said so by its exit code
	}
	var out []listFault
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// lists are both files while they are written.
type lists struct {
	files        [2]*os.File
	lines, nulls *bufio.Writer
	odd          int // names that a line can't hold
}

func newLists(folder string) (*lists, error) {
	l := &lists{}
	for i, name := range []string{listLines, listNULs} {
		f, err := os.OpenFile(filepath.Join(folder, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, err
		}
		l.files[i] = f
	}
	l.lines, l.nulls = bufio.NewWriter(l.files[0]), bufio.NewWriter(l.files[1])
	return l, nil
}

func (l *lists) add(p string) error {
	if strings.ContainsRune(p, '\n') {
		l.odd++
	} else if _, err := l.lines.WriteString(p + "\n"); err != nil {
		return err
	}
	_, err := l.nulls.WriteString(p + "\x00")
	return err
}

func (l *lists) close() error {
	if l.odd > 0 {
		fmt.Fprintf(os.Stderr, "vss: warning: %d paths with a line break are in VSS_FILES_FROM0 only\n", l.odd)
	}
	return errors.Join(l.lines.Flush(), l.nulls.Flush(), l.files[0].Close(), l.files[1].Close())
}
