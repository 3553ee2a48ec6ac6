package writerset

import (
	"fmt"
	"os"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Volume is an original of a shadow copy set, as Labels needs it.
type Volume struct {
	Name  string
	Reach string // a path by which its file system is reached; "" if it is not mounted
	Held  bool   // its writes were held while the copy was made
}

// Labels returns the consistency of each volume's copy, and that of the set with the reason why it is not higher. The
// copy of a volume that was not held is crash consistent; one that has data of writers, all of which prepared their
// data on it, is application consistent; any other is file-system consistent. A writer that failed to identify itself
// may have data on any volume.
func (s *Set) Labels(t Target, volumes []Volume) (labels []vss.Consistency, set vss.Consistency, reason string) {
	labels = make([]vss.Consistency, len(volumes))
	consistent, spoiled := s.appConsistent(volumes)
	set = vss.ConsistencyApplication
	failed := false // reason is a writer's failure
	for i, v := range volumes {
		why := ""
		switch {
		case !v.Held:
			labels[i] = vss.ConsistencyCrash
			why = v.Name + " holds no mounted file system, or one whose log was not replayed, so it could not be held"
		case !t.withWriters():
			labels[i], why = vss.ConsistencyFileSystem, "no writers were involved"
		case spoiled[i] != "":
			labels[i], why = vss.ConsistencyFileSystem, spoiled[i]
		case !consistent[i]:
			labels[i], why = vss.ConsistencyFileSystem, "no writer has data on "+v.Name
		default:
			labels[i] = vss.ConsistencyApplication
		}
		// Of equal labels the first is the set's reason, but a writer that failed is more than none with data there.
		failure := t.withWriters() && v.Held && spoiled[i] != ""
		if labels[i] < set || labels[i] == set && failure && !failed {
			set, reason, failed = labels[i], why, failure
		}
	}
	return labels, set, reason
}

// appConsistent reports for each volume whether it has consistent data of a writer, and the reason why other data of
// a writer on it are not consistent.
func (s *Set) appConsistent(volumes []Volume) (consistent []bool, spoiled []string) {
	consistent, spoiled = make([]bool, len(volumes)), make([]string, len(volumes))
	roots := make([]string, len(volumes))
	for i, v := range volumes {
		roots[i] = v.Reach
	}
	on := volume.NewLocator(roots) // which remembers paths: 64 writers may have thousands of them
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.failed { // its data may be anywhere
		for i := range spoiled {
			spoiled[i] = fmt.Sprintf("writer %s failed to identify its data: %s", p.Info.Name, p.failure.Code.Name())
		}
	}
	for _, p := range s.all {
		if !s.takesPart(p) {
			continue
		}
		for _, m := range s.included(p) {
			why := s.whyInconsistent(p, m)
			for _, f := range m.FileSets() {
				i := on.Find(os.ExpandEnv(f.Path))
				switch {
				case i < 0:
				case why == "":
					consistent[i] = true
				case spoiled[i] == "":
					spoiled[i] = why
				}
			}
		}
	}
	return consistent, spoiled
}

// whyInconsistent returns why a component's data in the copies are not consistent; "" if they are. A writer with
// VSS_E_WRITERERROR_PARTIAL_FAILURE failed only for the components that have a failure of their own. Source:
// IVssComponentEx2::SetFailure. The caller holds mu.
func (s *Set) whyInconsistent(p *participant, m *document.WMComponent) string {
	var of *document.Component // the included component that m belongs to
	partial := false           // a component of the writer has a failure of its own
	if w := s.doc.Writer(p.Info.ID, p.ID); w != nil && s.doc.SelectComponents {
		for _, c := range w.Components {
			partial = partial || c.Failure != nil && c.Failure.Code.Failed()
			if a := p.meta.Component(c.LogicalPath, c.Name); a != nil && (a == m || a.Selectable && m.Below(a)) {
				of = c
			}
		}
	}
	partial = partial && p.failure.Code == vss.ErrWriterErrorPartialFailure && of != nil
	switch {
	case !p.thawed, (p.state.Failed() || p.failure.Code.Failed()) && !partial:
		return fmt.Sprintf("writer %s is %s: %s", p.Info.Name, p.state, p.failure.Code.Name())
	case of != nil && of.Failure != nil && of.Failure.Code.Failed():
		return fmt.Sprintf("writer %s failed for %s: %s", p.Info.Name, of.FullName(), of.Failure.Code.Name())
	}
	return ""
}
