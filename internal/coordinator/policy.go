package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// listed says whether a list of class ids and names has a writer.
func listed(list []string, i *writer.Info) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		return strings.EqualFold(s, i.Name) || strings.EqualFold(strings.Trim(s, "{}"), i.ID.Plain())
	})
}

// requiredWell fails the set for the first writer without which none is to be made: one that takes part and failed, with its
// own code; one that isn't there, though the requester didn't leave it out, with VSS_E_WRITER_NOT_RESPONDING. Who asks for
// components asks for those writers only.
func (s *Session) requiredWell() error {
	const op = "DoSnapshotSet"
	w := &s.writers
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.all {
		if p.failure.Code.Failed() && s.takesPart(p) && listed(s.k.RequiredWriters, &p.Info) {
			return vss.E(op, p.failure.Code, fmt.Errorf("the writer is required and is %s: %s", p.state, p.failure.Message)).On(p.Info.Name).
				Advise("cure the writer, leave it out with --writer-exclude, or take it out of [writers.policy] of the configuration")
		}
	}
	if s.backup.SelectComponents {
		return nil
	}
	for _, name := range s.k.RequiredWriters {
		one := []string{name}
		there := slices.ContainsFunc(w.all, func(p *participant) bool { return listed(one, &p.Info) })
		left := slices.ContainsFunc(w.left, func(i writer.Info) bool { return listed(one, &i) })
		unwanted := slices.Contains(w.off, name) || w.enabling && !slices.Contains(w.only, name)
		if !there && !left && !unwanted {
			return vss.E(op, vss.ErrWriterNotResponding, errors.New("the writer is required and takes no part: it doesn't run, or failed to identify itself")).On(name).
				Advise("start it, leave it out with --writer-exclude, or take it out of [writers.policy] of the configuration")
		}
	}
	return nil
}
