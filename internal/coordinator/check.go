package coordinator

import (
	"context"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/recovery"
)

// Check compares what is recorded with what is there (vss doctor). With repair it repairs what can be
// repaired safely; the rest is reported with what to do. What is being created, imported, broken or deleted at this
// moment is left out of account. Errors: those of looking.
func (k *Coordinator) Check(ctx context.Context, repair bool) ([]copies.Finding, error) {
	found, err := k.inspect(ctx)
	if err != nil || !repair {
		return found, err
	}
	for i := range found {
		f := &found[i]
		if f.Repair == nil {
			continue
		}
		if err := f.Repair(ctx); err != nil {
			f.Hint = fmt.Sprintf("repairing it failed: %v; %s", err, f.Hint)
		} else {
			f.Severity, f.Hint = "info", "repaired"
		}
	}
	return found, nil
}

func (k *Coordinator) inspect(ctx context.Context) ([]copies.Finding, error) {
	now := k.seen()
	state, err := recovery.Read(k.Catalog)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	creating := k.creating != nil
	k.mu.Unlock()
	known := copies.Known{Copies: state.Copies, Busy: now.Busy, Creating: creating}
	found := append(k.heldVolumes(), k.cutOff(state, now)...)
	if damage := k.Catalog.Damage(); damage != "" {
		found = append(found, copies.Finding{Severity: "warning", Hint: damageHint,
			What: "one of the two heads of the catalogue was damaged when the service started: " + damage})
	}
	more, err := k.Host.Inspect(ctx, known, k.kind)
	if err != nil {
		return nil, err
	}
	found = append(found, more...)
	for _, kind := range k.loaded() {
		more, err := kind.Inspect(ctx, known)
		if err != nil {
			p := kind.Properties()
			what := "provider " + p.Name + " doesn't answer: " + err.Error()
			more = append(more, copies.Finding{Severity: "error", What: what, Hint: "see its log, and restart it"})
		}
		found = append(found, more...)
	}
	if k.Config.Inspect != nil {
		found = append(found, k.Config.Inspect(ctx)...)
	}
	return append(found, absentProviders(state, now)...), nil
}

// heldVolumes reports volumes whose holder is dead.
func (k *Coordinator) heldVolumes() []copies.Finding {
	names, err := k.Holder.Left()
	thaw := func(context.Context) error {
		_, err := k.Holder.Thaw()
		return err
	}
	var out []copies.Finding
	for _, n := range names {
		what := n + " is held by a creation that is dead"
		out = append(out, copies.Finding{Severity: "error", What: what, Hint: "run `vssd thaw`", Repair: thaw})
	}
	if err != nil {
		what := "the list of held volumes can't be read: " + err.Error()
		hint := "look into the folder `held` of the run folder"
		out = append(out, copies.Finding{Severity: "warning", What: what, Hint: hint})
	}
	return out
}

// cutOff reports creations and breaks that a service which died has left, and that could not be ended.
func (k *Coordinator) cutOff(r *recovery.Recorded, now *recovery.Seen) []copies.Finding {
	var out []copies.Finding
	add := func(a recovery.Action, what string) {
		out = append(out, copies.Finding{
			Severity: "error", What: fmt.Sprintf(what, a.Set),
			Hint:   "`vss events` says why; remove the cause, then run `vss doctor --repair`",
			Repair: func(ctx context.Context) error { return k.apply(ctx, a) },
		})
	}
	for _, a := range recovery.Plan(recovery.StageCreations, r, now) {
		add(a, "the creation of set %v was cut off and is not undone")
	}
	for _, a := range recovery.Plan(recovery.StageBreaks, r, now) {
		add(a, "the break of set %v was cut off and is neither done nor undone")
	}
	return out
}

// absentProviders reports copies whose provider isn't loaded: they can't be reached, nor deleted.
func absentProviders(r *recovery.Recorded, now *recovery.Seen) []copies.Finding {
	count := map[string]int{}
	var names []string
	for _, c := range r.Copies {
		if now.Providers[c.ProviderID] {
			continue
		}
		if count[c.ProviderName] == 0 {
			names = append(names, c.ProviderName)
		}
		count[c.ProviderName]++
	}
	var out []copies.Finding
	for _, n := range names {
		out = append(out, copies.Finding{
			Severity: "warning", What: fmt.Sprintf("provider %s of %d copies is not registered", n, count[n]),
			Hint: "start it: `vss list providers` shows which are registered",
		})
	}
	return out
}
