package writerset

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// choice is the requester's choice of the writers that take part.
type choice struct {
	enabling  bool // Enable was called: other classes than those it named take no part
	rules     []rule
	instances []vss.WriterInstanceID // excluded ones
}

// rule is one call of Enable or Disable. The last one that names a class decides.
type rule struct {
	enable  bool
	classes []string // ids or names
}

// invites reports whether a class takes part; in reports whether a list has it.
func (c *choice) invites(in func(classes []string) bool) bool {
	for _, r := range slices.Backward(c.rules) {
		if in(r.classes) {
			return r.enable
		}
	}
	return !c.enabling
}

// takesPart reports whether an instance takes part.
func (c *choice) takesPart(i *writer.Instance) bool {
	in := func(classes []string) bool { return listed(classes, &i.Info) }
	return c.invites(in) && !slices.Contains(c.instances, i.ID)
}

// listed reports whether a list of class ids and names has a writer.
func listed(list []string, i *writer.Info) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		return strings.EqualFold(s, i.Name) || strings.EqualFold(strings.Trim(s, "{}"), i.ID.Plain())
	})
}

// Enable lets only the given classes take part, by id or name. The first call cancels earlier calls of Disable, later
// ones add classes. After Gather it has no effect, like Disable and DisableInstances.
func (s *Set) Enable(classes []string) {
	if s.gathered {
		return
	}
	if c := &s.choice; !c.enabling {
		c.enabling, c.rules = true, nil
	}
	s.choice.rules = append(s.choice.rules, rule{true, classes})
}

// Disable excludes classes, by id or name, also those that Enable named before.
func (s *Set) Disable(classes []string) {
	if !s.gathered {
		s.choice.rules = append(s.choice.rules, rule{false, classes})
	}
}

// DisableInstances excludes single instances.
func (s *Set) DisableInstances(ids []vss.WriterInstanceID) {
	if !s.gathered {
		s.choice.instances = append(s.choice.instances, ids...)
	}
}

// Gathered reports whether Gather has run.
func (s *Set) Gathered() bool { return s.gathered }

// Gather calls Identify of every writer that is invited, all at once. A writer that fails or does not answer receives
// no events; its status has the failure. It returns the error of ctx, if any.
func (s *Set) Gather(ctx context.Context) error {
	var asked []*writer.Instance
	var excluded []writer.Info
	for _, i := range s.cfg.Writers(ctx) {
		if s.choice.takesPart(i) {
			asked = append(asked, i)
		} else {
			excluded = append(excluded, i.Info)
		}
	}
	answers, failed := make([]*participant, len(asked)), make([]*participant, len(asked))
	var wg sync.WaitGroup
	for n, i := range asked {
		wg.Go(func() {
			meta, err := within(ctx, s.cfg.Limits.identify(), i.Writer.Identify)
			if err != nil {
				s.cfg.Events.Add(events.WriterFailed, events.Warning, catalog.Event{
					Object: i.Info.Name, Code: vss.CodeOf(err), Message: "Identify: " + err.Error(),
					Hint: "the writer takes no part in the session; see the writer's log",
				})
				failed[n] = &participant{Instance: i, meta: &document.WriterMetadata{},
					state: vss.WriterFailedAtIdentify, failure: identifyFailure(err)}
				return
			}
			meta.WriterID, meta.InstanceID, meta.Name = i.Info.ID, i.ID, i.Info.Name // Watched has checked the rest
			answers[n] = &participant{Instance: i, meta: meta, state: vss.WriterStable}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	none := func(p *participant) bool { return p == nil }
	s.all, s.failed = slices.DeleteFunc(answers, none), slices.DeleteFunc(failed, none)
	s.excluded, s.gathered = excluded, true
	return ctx.Err()
}

// identifyFailure returns the failure of a writer whose Identify failed.
func identifyFailure(err error) writer.Failure {
	if errors.Is(err, vss.ErrWriterNotResponding) {
		return notResponding(err)
	}
	return failureOf(err)
}

// Metadata returns what the writers of the set described. Errors: VSS_E_BAD_STATE before Gather.
func (s *Set) Metadata() ([]*document.WriterMetadata, error) {
	if err := s.needGathered("GetWriterMetadata"); err != nil {
		return nil, err
	}
	var out []*document.WriterMetadata
	for _, p := range s.all {
		out = append(out, p.meta)
	}
	return out, nil
}

// GatherStatus finds out which writers still respond. It returns the error of ctx, if any.
func (s *Set) GatherStatus(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, p := range s.all {
		wg.Go(func() {
			_, err := within(ctx, statusLimit, p.Writer.Info)
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil && !p.state.Failed() {
				p.state, p.failure = vss.WriterUnknown, notResponding(err)
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
	return ctx.Err()
}

// GatheredStatus returns the state of each writer of the set. Errors: VSS_E_BAD_STATE before GatherStatus.
func (s *Set) GatheredStatus() ([]catalog.Writer, error) {
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	if !asked {
		return nil, vss.E("GetWriterStatus", vss.ErrBadState, errors.New("GatherWriterStatus must be called first"))
	}
	return s.Status(), nil
}

// Status returns the state of each writer of the set.
func (s *Set) Status() []catalog.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []catalog.Writer{}
	for _, p := range slices.Concat(s.all, s.failed) {
		out = append(out, catalog.Writer{
			ID: p.Info.ID, InstanceID: p.ID, Name: p.Info.Name, Level: p.Info.Level, Components: len(p.meta.Components),
			State: p.state, Failure: p.failure.Code, Message: p.failure.Message, Application: p.failure.Application,
			Frozen: p.frozenFor,
		})
	}
	return out
}

// AbortDropped sends Abort for a set that a service which died was creating: writers may still be prepared or frozen
// for it.
func AbortDropped(ctx context.Context, cfg *Config, set vss.SnapshotSetID) {
	var wg sync.WaitGroup
	for _, i := range cfg.Writers(ctx) {
		wg.Go(func() {
			_, err := within(ctx, abortDroppedLimit, func(ctx context.Context) (struct{}, error) {
				return struct{}{}, i.Writer.Abort(ctx, &writer.Event{SetID: set})
			})
			if err != nil {
				cfg.Logger.Warn("Abort of a dropped set failed", "writer", i.Info.Name, "set", set, "error", err)
			}
		})
	}
	wg.Wait()
}

// participant returns the participant of a class and an instance; nil if it is not in the set.
func (s *Set) participant(class vss.WriterID, instance vss.WriterInstanceID) *participant {
	for _, p := range s.all {
		if p.Info.ID == class && p.ID == instance {
			return p
		}
	}
	return nil
}

// checkRequiredWriters returns an error if a writer without which no set may be created failed, with that writer's
// code, or is absent though the requester did not exclude it: VSS_E_WRITER_NOT_RESPONDING. A requester in component
// mode requires only the writers whose components it chose.
func (s *Set) checkRequiredWriters() error {
	const op = "DoSnapshotSet"
	const hint = "correct the cause, exclude the writer with --writer-exclude, " +
		"or remove it from [writers.policy] in the configuration"
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		if p.failure.Code.Failed() && s.takesPart(p) && listed(s.cfg.Required, &p.Info) {
			cause := errors.New("the writer is required and is " + p.state.String() + ": " + p.failure.Message)
			return vss.E(op, p.failure.Code, cause).On(p.Info.Name).Advise(hint)
		}
	}
	if s.doc.SelectComponents {
		return nil
	}
	for _, name := range s.cfg.Required {
		if !s.present(name) && !s.unwanted(name) {
			cause := errors.New("the required writer takes no part: it does not run, or it failed to identify itself")
			return vss.E(op, vss.ErrWriterNotResponding, cause).On(name).Advise("start the writer; or " + hint)
		}
	}
	return nil
}

// present reports whether a writer of this class id or name takes part, or runs and is excluded.
func (s *Set) present(class string) bool {
	one := []string{class}
	return slices.ContainsFunc(s.all, func(p *participant) bool { return listed(one, &p.Info) }) ||
		slices.ContainsFunc(s.excluded, func(i writer.Info) bool { return listed(one, &i) })
}

// unwanted reports whether the requester excluded a class under this id or name.
func (s *Set) unwanted(class string) bool {
	return !s.choice.invites(func(classes []string) bool { return slices.Contains(classes, class) })
}
