package coordinator

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// consistency is what each copy of the set promises, and the set as a whole with the reason why it isn't more: a volume
// whose file system was not held is crash consistent; one with data of writers who all vouch for it is application
// consistent; any other is file-system consistent.
func (s *Session) consistency(c *creation) (labels []vss.Consistency, set vss.Consistency, reason string) {
	labels = make([]vss.Consistency, len(c.copies))
	vouched, spoiled := s.vouched(c)
	set = vss.ConsistencyApplication
	for i, v := range c.copies {
		why := ""
		switch {
		case !v.held:
			labels[i], why = vss.ConsistencyCrash, v.vol.Name+" holds no mounted file system, so its writes could not be held"
		case spoiled[i] != "":
			labels[i], why = vss.ConsistencyFileSystem, spoiled[i]
		case !s.withWriters():
			labels[i], why = vss.ConsistencyFileSystem, "no writers were involved"
		case !vouched[i]:
			labels[i], why = vss.ConsistencyFileSystem, "no writer has data on "+v.vol.Name
		default:
			labels[i] = vss.ConsistencyApplication
		}
		if labels[i] < set {
			set, reason = labels[i], why
		}
	}
	return labels, set, reason
}

// vouched tells for each copy whether a writer with data on it vouches for it, and which one doesn't, and why.
func (s *Session) vouched(c *creation) (vouched []bool, spoiled []string) {
	vouched, spoiled = make([]bool, len(c.copies)), make([]string, len(c.copies))
	on := newLocator(c.copies)
	w := &s.writers
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.all {
		if !s.takesPart(p) {
			continue
		}
		for _, m := range s.included(p) {
			why := s.spoils(p, m)
			for _, f := range m.FileSets() {
				i := on.find(f.Path)
				switch {
				case i < 0:
				case why == "":
					vouched[i] = true
				case spoiled[i] == "":
					spoiled[i] = why
				}
			}
		}
	}
	return vouched, spoiled
}

// spoils says why a writer doesn't vouch for a component, "" where it does. One with VSS_E_WRITERERROR_PARTIAL_FAILURE has
// failed for the components that say so, and vouches for the others. Source: IVssComponentEx2::SetFailure. The caller holds
// the writers' lock.
func (s *Session) spoils(p *participant, m *document.WMComponent) string {
	var of *document.Component // which was included, and brought m
	blamed := false            // a component of the writer has a failure
	if w := s.backup.Writer(p.Info.ID, p.ID); w != nil && s.backup.SelectComponents {
		for _, c := range w.Components {
			blamed = blamed || c.Failure != nil && c.Failure.Code.Failed()
			if a := p.meta.Component(c.LogicalPath, c.Name); a != nil && (a == m || a.Selectable && m.Below(a)) {
				of = c
			}
		}
	}
	partial := p.failure.Code == vss.ErrWriterErrorPartialFailure && of != nil && blamed
	switch {
	case !p.thawed, (p.state.Failed() || p.failure.Code.Failed()) && !partial:
		return fmt.Sprintf("writer %s is %s: %s", p.Info.Name, p.state, p.failure.Code.Name())
	case of != nil && of.Failure != nil && of.Failure.Code.Failed():
		return fmt.Sprintf("writer %s failed for %s: %s", p.Info.Name, of.FullName(), of.Failure.Code.Name())
	}
	return ""
}

// locator finds the copy whose original a path lies on, by device numbers: 64 writers may have thousands of paths.
type locator struct {
	copies map[uint64]int // device number of the original's root
	known  map[string]int
}

func newLocator(copies []*shadow) *locator {
	l := &locator{map[uint64]int{}, map[string]int{}}
	for i, s := range copies {
		var st unix.Stat_t
		if s.vol.Reach != "" && unix.Stat(s.vol.Reach, &st) == nil {
			l.copies[st.Dev] = i
		}
	}
	return l
}

// find gives the index of the copy, -1 for none. What isn't there counts where it would be made.
func (l *locator) find(path string) int {
	path = os.ExpandEnv(path)
	if i, ok := l.known[path]; ok {
		return i
	}
	found := -1
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil {
			if i, ok := l.copies[st.Dev]; ok {
				found = i
			}
			break
		}
		if p == "/" || p == "." {
			break
		}
	}
	l.known[path] = found
	return found
}
