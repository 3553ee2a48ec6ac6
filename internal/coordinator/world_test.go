package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/copies/copiestest"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/recovery"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// The providers of a world.
var (
	firstID  = vss.ProviderID{GUID: vss.MustGUID("11111111-0000-4000-8000-000000000001")}
	secondID = vss.ProviderID{GUID: vss.MustGUID("22222222-0000-4000-8000-000000000002")}
	localID  = vss.ProviderID{GUID: vss.MustGUID("33333333-0000-4000-8000-000000000003")}
	allIDs   = []vss.ProviderID{firstID, secondID, localID}
)

// Its volumes: /a and /b are LUNs of the first hardware provider, /c of the second; /srv/memory0 is the software
// provider's.
var fourVolumes = []string{"/a", "/b", "/c", "/srv/memory0"}

// world is a host in memory with two hardware providers, a software provider and a writer. What it stores survives
// restart.
type world struct {
	*Coordinator
	t       *testing.T
	dir     string
	store   *catalog.Store
	host    *copiestest.World
	arrays  []*providertest.Array
	luns    []vss.LUNInformation // the originals
	local   *providertest.Host
	soft    *providertest.MemorySoftware // of the process that runs
	offer   provider.Offer
	vols    *fakeVolumes
	holder  *fakeHolder
	quiet   *fakeQuiet
	calls   *providertest.Log
	writer  *writertest.Recorder
	writers []*writer.Instance
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t:      t,
		dir:    t.TempDir(),
		host:   copiestest.New(),
		holder: &fakeHolder{},
		quiet:  &fakeQuiet{},
		calls:  &providertest.Log{},
	}
	var err error
	w.store, err = catalog.Open(filepath.Join(w.dir, "catalog.db"))
	must(t, err)
	t.Cleanup(func() { w.store.Close() })
	one, l1 := w.host.Array(2, disk.StyleGPT)
	two, l2 := w.host.Array(1, disk.StyleMBR)
	w.arrays, w.luns = []*providertest.Array{one, two}, append(l1, l2...)
	host, local := providertest.NewHost(2)
	w.local = host
	w.vols = &fakeVolumes{
		dir: w.dir,
		all: []*volume.Volume{w.host.Volume("/a", "ext4", w.luns[0]), w.host.Volume("/b", "xfs", w.luns[1]),
			w.host.Volume("/c", "ext4", w.luns[2]), w.host.Local(local[0]), w.host.Local(local[1])},
	}
	r, i := recorder("db")
	// It deletes them in the copies.
	r.Metadata.ExcludeFilesFromSnapshot = []document.FileSet{{Path: "/b", FileSpec: "*.tmp"}}
	w.writer, w.writers = r, []*writer.Instance{i}
	w.start()
	return w
}

// start starts the service on what is stored, and recovers.
func (w *world) start() {
	w.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	log := events.New(w.store, logger)
	host, err := copies.NewHost(w.host.Config(w.dir, w.store, log))
	must(w.t, err)
	w.Coordinator, err = New(w.t.Context(), Config{
		Name: copiestest.Name, HoldLimit: 10 * time.Second, Catalog: w.store, Events: log, Volumes: w.vols,
		Holder: w.holder, Host: host, Providers: w.providers(), Quiet: w.quiet, Logger: logger,
		Writers: func(context.Context) []*writer.Instance { return w.writers },
	})
	must(w.t, err, w.Recover(w.t.Context()))
}

// providers are new processes of all providers.
func (w *world) providers() []provider.Provider {
	w.soft = providertest.NewMemorySoftware(w.local)
	w.soft.ID, w.soft.Name, w.soft.Offer = localID, "local", w.offer
	return []provider.Provider{
		providertest.RecordSoftware(w.soft, w.calls),
		providertest.RecordHardware(w.host.Hardware(firstID, "first", w.arrays[0]), w.calls),
		providertest.RecordHardware(w.host.Hardware(secondID, "second", w.arrays[1]), w.calls),
	}
}

// restart starts a service on what a killed one has stored. Sessions are gone.
func (w *world) restart() {
	w.t.Helper()
	for _, id := range allIDs {
		w.unwatch(id)
	}
	w.start()
}

// session opens a session that is ready to add volumes.
func (w *world) session(c vss.Context, volumes ...string) *Session {
	w.t.Helper()
	s := w.OpenSession(0)
	must(w.t, s.InitializeForBackup(nil), s.SetContext(c), s.SetBackupState(false, false, vss.BackupFull, false))
	if s.withWriters() {
		must(w.t, ended(s.GatherWriterMetadata()))
	}
	_, err := s.StartSnapshotSet()
	must(w.t, err)
	for _, v := range volumes {
		_, err := s.AddToSnapshotSet(w.t.Context(), v, "")
		must(w.t, err)
	}
	if s.withWriters() {
		must(w.t, ended(s.PrepareForBackup()))
	}
	return s
}

// create makes a set.
func (w *world) create(c vss.Context, volumes ...string) *Session {
	w.t.Helper()
	s := w.session(c, volumes...)
	must(w.t, ended(s.DoSnapshotSet(0)))
	return s
}

// copies counts the copies of all arrays and of the local host.
func (w *world) copiesMade() int {
	return w.arrays[0].Copies() + w.arrays[1].Copies() + w.local.Copies()
}

// clean checks that nothing is left over of a set that was aborted.
func (w *world) clean(when string) {
	w.t.Helper()
	if n := w.copiesMade(); n > 0 {
		w.t.Errorf("%s: %d copies are left", when, n)
	}
	w.atRest(when)
	r, err := recovery.Read(w.store)
	if err != nil || len(r.Creations)+len(r.Copies)+len(r.Breaks) > 0 {
		w.t.Errorf("%s: recorded: %+v, %v", when, r, err)
	}
}

// atRest checks that nothing is held, locked or marked.
func (w *world) atRest(when string) {
	w.t.Helper()
	if held, open := w.holder.state(); held || open > 0 {
		w.t.Errorf("%s: held %v, %d guards are open", when, held, open)
	}
	if n := w.quiet.count(); n != 0 {
		w.t.Errorf("%s: the log is held %d times", when, n)
	}
	if l := w.host.Locked(); len(l) > 0 || w.host.Paused != 0 {
		w.t.Errorf("%s: locked %v, background work paused %d times", when, l, w.host.Paused)
	}
	for i, l := range w.luns {
		t := w.host.TableOf(l)
		flags := t.Flags
		for _, p := range t.Partitions {
			flags |= p.Flags
		}
		if flags&vss.FlagShadowCopy != 0 {
			w.t.Errorf("%s: original %d carries flags %v", when, i, flags)
		}
	}
	w.mu.Lock()
	creating := w.creating
	w.mu.Unlock()
	if creating != nil {
		w.t.Errorf("%s: the creation lock is kept", when)
	}
}

// seen are the kinds of the events so far.
func (w *world) eventKinds() []string {
	w.t.Helper()
	all, err := w.Config.Events.List(time.Time{})
	must(w.t, err)
	var out []string
	for _, e := range all {
		out = append(out, e.What)
	}
	return out
}

// sound checks that doctor finds nothing, but for devices that aren't files.
func (w *world) sound() {
	w.t.Helper()
	found, err := w.Check(w.t.Context(), false)
	must(w.t, err)
	for _, f := range found {
		if !strings.Contains(f.What, "leads nowhere") {
			w.t.Errorf("doctor: %+v", f)
		}
	}
}

// wantEvent checks that an event was recorded.
func (w *world) wantEvent(kind events.Kind) {
	w.t.Helper()
	if all := w.eventKinds(); !slices.Contains(all, string(kind)) {
		w.t.Errorf("no event %s among %v", kind, all)
	}
}

// record returns the copies of a set.
func (w *world) records(set vss.SnapshotSetID) []*catalog.Snapshot {
	w.t.Helper()
	r, err := w.recordsOf(set)
	must(w.t, err)
	return r
}

// owns checks that a provider was called for this set, these copies and its own LUNs only.
func (w *world) owns(id vss.ProviderID, set vss.SnapshotSetID, own []vss.SnapshotID, luns []vss.LUNInformation) error {
	for _, c := range w.calls.Of(id) {
		if !c.Set.IsZero() && c.Set != set {
			return fmt.Errorf("%s was called for set %v", c.Method, c.Set)
		}
		for _, s := range c.Snapshots {
			if !slices.Contains(own, s) {
				return fmt.Errorf("%s was called for copy %v of another provider", c.Method, s)
			}
		}
		if c.Method == "AreLunsSupported" || c.Method == "FillInLunInfo" {
			continue // asked of every LUN: it doesn't know the strangers
		}
		for i := range c.LUNs {
			if !slices.ContainsFunc(luns, func(l vss.LUNInformation) bool { return l.SameLUN(&c.LUNs[i]) }) {
				return fmt.Errorf("%s was called with LUN %s of another provider", c.Method, c.LUNs[i].SerialNumber)
			}
		}
	}
	return nil
}

// Shutdown stops the service, without a limit.
func (w *world) Shutdown() { w.Coordinator.Shutdown(context.Background()) }
