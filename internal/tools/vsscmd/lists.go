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
	"github.com/stillpoint-vss/stillpoint/requester/filelist"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The files of the lists that a command gets, in a directory made for them.
const (
	listLines  = "files"  // one path per line; VSS_FILES_FROM
	listNULs   = "files0" // each path ends with NUL; VSS_FILES_FROM0
	listFaults = "faults" // components whose files could not be listed, as JSON
)

// listVariables returns the environment variables that name the lists.
func listVariables(folder string) []string {
	return []string{
		"VSS_FILES_FROM=" + filepath.Join(folder, listLines), "VSS_FILES_FROM0=" + filepath.Join(folder, listNULs),
	}
}

// listTask describes the files of a backup: those of its components.
type listTask struct {
	Folder string
	Type   vss.BackupType
	// Writers are the writers with components: the metadata and the components of each, as XML.
	Writers []struct{ Metadata, Components []byte }
}

// listFault is a component of which a file could not be listed.
type listFault struct {
	Writer   vss.WriterInstanceID
	FullName string
	Why      string
}

// lister writes the lists, in the mount namespace of the command.
type lister struct {
	folder  string
	writers []*listedWriter
	faults  []listFault
}

type listedWriter struct {
	instance vss.WriterInstanceID
	name     string
	list     *filelist.List
}

// read parses the documents of the task. It returns nil for a nil task.
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
		l.writers = append(l.writers, &listedWriter{c.InstanceID, m.Name, filelist.New(m, c, t.Type)})
	}
	return l, nil
}

// shared returns the directories that the command must see as they are: that of the lists, and those whose files need
// not be read from a copy, unless they contain other files that must be.
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

func (l *lister) sets() []filelist.Set {
	var out []filelist.Set
	for _, w := range l.writers {
		out = append(out, w.list.Sets...)
	}
	return out
}

// write writes the lists, with the paths that the command sees. Copies are the device numbers of what the copies
// show. A file that can't be listed is a fault of its component.
func (l *lister) write(copies map[uint64]bool) error {
	if l == nil {
		return nil
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
		err := w.list.Walk("/", func(f filelist.File, err error) error {
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

// fault records the first fault of a component.
func (l *lister) fault(w *listedWriter, c *document.Component, err error) {
	for _, f := range l.faults {
		if f.Writer == w.instance && f.FullName == c.FullName() {
			return
		}
	}
	l.faults = append(l.faults, listFault{w.instance, c.FullName(), err.Error()})
}

// readFaults returns the faults that the lister recorded.
func readFaults(folder string) ([]listFault, error) {
	text, err := os.ReadFile(filepath.Join(folder, listFaults))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the helper failed, which its exit code shows
	}
	var out []listFault
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// lists writes both files.
type lists struct {
	files        [2]*os.File
	lines, nulls *bufio.Writer
	multiline    int // paths that contain a line break
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
		l.multiline++
	} else if _, err := l.lines.WriteString(p + "\n"); err != nil {
		return err
	}
	_, err := l.nulls.WriteString(p + "\x00")
	return err
}

func (l *lists) close() error {
	if l.multiline > 0 {
		fmt.Fprintf(os.Stderr, "vss: warning: %d paths contain a line break and are only in VSS_FILES_FROM0\n",
			l.multiline)
	}
	return errors.Join(l.lines.Flush(), l.nulls.Flush(), l.files[0].Close(), l.files[1].Close())
}
