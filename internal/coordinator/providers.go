package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// rank is the order in which kinds of providers are asked for a volume.
var rank = map[vss.ProviderType]int{vss.ProviderHardware: 0, vss.ProviderSoftware: 1, vss.ProviderSystem: 2}

// AddProvider loads a provider while the service runs, and then finishes what an earlier service left of its copies.
// Errors: VSS_E_PROVIDER_ALREADY_REGISTERED for an id that is loaded; those of Properties and OnLoad.
func (k *Coordinator) AddProvider(ctx context.Context, p provider.Provider) error {
	kind, err := k.load(ctx, p)
	if err != nil {
		return err
	}
	k.recoverOf(ctx, kind.Properties().ID)
	return nil
}

// identifyLimit is how long a provider may take to identify itself.
const identifyLimit = 10 * time.Second

// load loads a provider and puts it behind those of its type.
func (k *Coordinator) load(ctx context.Context, p provider.Provider) (copies.Kind, error) {
	soon, cancel := context.WithTimeout(ctx, identifyLimit)
	defer cancel()
	props, err := p.Properties(soon)
	if err != nil {
		return nil, err
	}
	if !k.reserve(props.ID) {
		return nil, alreadyRegistered(props)
	}
	kind, err := k.Host.Load(ctx, p)
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.loading, props.ID)
	if err != nil {
		return nil, err
	}
	k.kinds = append(slices.Clone(k.kinds), kind)
	slices.SortStableFunc(k.kinds, func(a, b copies.Kind) int {
		return rank[a.Properties().Type] - rank[b.Properties().Type]
	})
	k.watch(kind)
	return kind, nil
}

// reserve keeps other providers of an id from loading, and reports whether there is none. So OnLoad of a second one is
// never called: it may delete what a former process left unfinished.
func (k *Coordinator) reserve(id vss.ProviderID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.loading[id] || slices.ContainsFunc(k.kinds, func(o copies.Kind) bool { return o.Properties().ID == id }) {
		return false
	}
	k.loading[id] = true
	return true
}

func alreadyRegistered(p provider.Properties) error {
	return vss.E("RegisterProvider", vss.ErrProviderAlreadyRegistered, nil).On(p.ID.String()).
		Advise("`vss list providers` shows it; remove the other provider of this id first")
}

// RemoveProvider unloads a provider. With dead its process has ended: it isn't called any more, and a set that is
// being created with it fails at the next call. Errors: VSS_E_PROVIDER_NOT_REGISTERED; VSS_E_PROVIDER_IN_USE while a
// set with one of its copies is being created, imported or changed, or when it refuses; neither if it is dead.
func (k *Coordinator) RemoveProvider(ctx context.Context, id vss.ProviderID, dead bool) error {
	const op = "UnregisterProvider"
	kind, err := k.kind(id)
	if err != nil {
		return err
	}
	if !dead {
		inUse := func(err error) error {
			return vss.E(op, vss.ErrProviderInUse, err).On(kind.Properties().Name).
				Advise("wait until the sets that it works on are done")
		}
		if used := k.working(id); used != "" {
			return inUse(errors.New(used))
		}
		if err := kind.Unload(ctx, false); err != nil {
			return inUse(err)
		}
	}
	k.unwatch(id)
	k.mu.Lock()
	k.kinds = slices.DeleteFunc(slices.Clone(k.kinds), func(o copies.Kind) bool { return o == kind })
	k.mu.Unlock()
	return nil
}

// working describes the set that an operation works on with a copy of this provider; "" if there is none.
func (k *Coordinator) working(id vss.ProviderID) string {
	k.mu.Lock()
	creating := k.creating
	busy := make([]vss.SnapshotSetID, 0, len(k.busySets))
	for set := range k.busySets {
		busy = append(busy, set)
	}
	k.mu.Unlock()
	if creating != nil && creating.uses(id) {
		return "set " + creating.id.String() + " is being created with it"
	}
	for _, set := range busy {
		records, err := k.recordsOf(set)
		if err == nil && slices.ContainsFunc(records, func(r *catalog.Snapshot) bool { return r.ProviderID == id }) {
			return "an operation on set " + set.String() + " is running"
		}
	}
	return ""
}

// watch puts into the event log what a provider reports of its copies by itself. The caller holds mu.
func (k *Coordinator) watch(kind copies.Kind) {
	w, ok := kind.(copies.Watcher)
	if !ok {
		return
	}
	life, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	k.stops[kind.Properties().ID] = func() { stop(); <-ended }
	go func() {
		defer close(ended)
		reported, err := w.Watch(life)
		if err != nil {
			k.Logger.Warn("provider reports no events", "provider", kind.Properties().Name, "error", err)
			return
		}
		for e := range reported {
			k.reported(life, kind, e)
		}
	}()
}

func (k *Coordinator) unwatch(id vss.ProviderID) {
	k.mu.Lock()
	stop := k.stops[id]
	delete(k.stops, id)
	k.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// reported records one event of a provider. A copy that it has lost is forgotten.
func (k *Coordinator) reported(ctx context.Context, kind copies.Kind, e provider.Event) {
	id, name := kind.Properties().ID, kind.Properties().Name
	switch e.Kind {
	case provider.EventCopyLost:
		k.lose(ctx, e.Text, e.Hint, func(r *catalog.Snapshot) bool { return r.ID == e.Snapshot && r.ProviderID == id })
	case provider.EventAreaFilling:
		k.Events.Add(events.AreaFilling, events.Warning, catalog.Event{
			Time: e.Time, Provider: name, Object: e.Object, Message: e.Text, Hint: e.Hint,
		})
	default:
		k.Logger.Warn("provider reports an unknown event", "provider", name, "kind", e.Kind, "text", e.Text)
	}
}

// loaded returns the kinds of copies, in the order in which they are asked for a volume.
func (k *Coordinator) loaded() []copies.Kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kinds
}

// Providers lists the providers that are loaded.
func (k *Coordinator) Providers(ctx context.Context) []provider.Properties {
	if k.LookForProviders != nil {
		k.LookForProviders(ctx)
	}
	var out []provider.Properties
	for _, kind := range k.loaded() {
		out = append(out, kind.Properties())
	}
	return out
}

// kind finds the kind of a copy by its provider. Errors: VSS_E_PROVIDER_NOT_REGISTERED.
func (k *Coordinator) kind(id vss.ProviderID) (copies.Kind, error) {
	for _, kind := range k.loaded() {
		if kind.Properties().ID == id {
			return kind, nil
		}
	}
	return nil, vss.E("FindProvider", vss.ErrProviderNotRegistered, nil).On(id.String()).
		Advise("`vss list providers` shows which providers are registered")
}

// named returns the candidates for a volume: all kinds, or the one whose provider has this id or name. Errors:
// VSS_E_PROVIDER_NOT_REGISTERED.
func (k *Coordinator) named(ctx context.Context, op, name string) ([]copies.Kind, error) {
	if name == "" {
		return k.loaded(), nil
	}
	find := func() []copies.Kind {
		return slices.DeleteFunc(slices.Clone(k.loaded()), func(kind copies.Kind) bool {
			p := kind.Properties()
			return !strings.EqualFold(name, p.Name) && !strings.EqualFold(strings.Trim(name, "{}"), p.ID.Plain())
		})
	}
	found := find()
	if len(found) == 0 && k.LookForProviders != nil {
		k.LookForProviders(ctx)
		found = find()
	}
	if len(found) > 0 {
		return found[:1], nil
	}
	return nil, vss.E(op, vss.ErrProviderNotRegistered, nil).On(name).
		Advise("`vss list providers` shows which providers are registered")
}

// part is the copies of a set that are of one kind.
type part struct {
	kind    copies.Kind
	records []*catalog.Snapshot
}

// parts divides the copies of a set by their kind; both lists keep the order of the copies. Errors:
// VSS_E_PROVIDER_NOT_REGISTERED.
func (k *Coordinator) parts(records []*catalog.Snapshot) ([]part, error) {
	var out []part
	for _, r := range records {
		i := slices.IndexFunc(out, func(p part) bool { return p.kind.Properties().ID == r.ProviderID })
		if i < 0 {
			kind, err := k.kind(r.ProviderID)
			if err != nil {
				return nil, err
			}
			i, out = len(out), append(out, part{kind: kind})
		}
		out[i].records = append(out[i].records, r)
	}
	return out, nil
}

// open finds the kind of a recorded copy and opens it. Errors: VSS_E_PROVIDER_NOT_REGISTERED.
func (k *Coordinator) open(r *catalog.Snapshot) (copies.Copy, error) {
	kind, err := k.kind(r.ProviderID)
	if err != nil {
		return nil, err
	}
	return kind.Open(r), nil
}

// writePaths returns what commits of these kinds write to.
func writePaths(ctx context.Context, kinds []copies.Kind) ([]string, error) {
	var out []string
	for _, kind := range kinds {
		w, err := kind.WritePaths(ctx)
		if err != nil {
			return nil, fmt.Errorf("write paths of %s: %w", kind.Properties().Name, err)
		}
		out = append(out, w...)
	}
	return out, nil
}
