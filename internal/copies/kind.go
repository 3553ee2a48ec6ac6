// Package copies manages shadow copies on this host, of any provider. A Kind is a provider together with the way in
// which its copies are kept: LUN copies of hardware providers, which arrive as disks, and local copies of software and
// system providers, which are devices or folders. A Member is a kind's part in one set that is being created, a Copy is
// one copy that exists. Host holds what is the same for all kinds: device objects, mounts, exposures and deletion.
//
// The package knows nothing of sessions, writers or steps. Every call of a provider goes through call.go, which limits
// its time, translates its result and records its failure.
package copies

import (
	"context"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Kind is one loaded provider together with the way its copies are kept on this host. All methods may be called from
// many goroutines. An error of the provider has been translated to a legal code and recorded as an event.
type Kind interface {
	// Properties returns what the provider said of itself when it was loaded.
	Properties() provider.Properties
	// Supports reports whether copies of the volume are possible in principle; a present shortage doesn't count.
	Supports(ctx context.Context, v *volume.Volume, c vss.Context) (bool, error)
	// Consider asks whether the volume can be copied now, with this context. It changes nothing. An *Obstacle says why
	// this kind can't, and the next one may be asked; any other error ends the choice.
	Consider(ctx context.Context, v *volume.Volume, c vss.Context) (Offer, error)
	// Snapshotted reports whether the provider itself knows of copies of the volume, and what they disable on it.
	Snapshotted(ctx context.Context, v *volume.Volume) (bool, vss.SnapshotCompatibility, error)
	// WritePaths returns the files and folders that a commit of this kind writes to, as far as they are known before a
	// set is prepared.
	WritePaths(ctx context.Context) ([]string, error)
	// Join makes the kind a member of a set with this context. The provider isn't called yet.
	Join(set vss.SnapshotSetID, c vss.Context) Member
	// Surface brings copies of a set to this host: they are located, recognised, get identities of their own and become
	// read-only. It fills in the records, all of which must be of this kind, but for device number, Imported and
	// service machine: see Host.Place. The copies that are here are returned in the records' order, those that did not
	// arrive have an error in missing. With again it resumes where a service died, which may have had the copies marked
	// as imported.
	Surface(
		ctx context.Context,
		set vss.SnapshotSetID,
		records []*catalog.Snapshot,
		again bool,
	) (here []Copy, missing []error, err error)
	// Open returns the copy that a record of this kind describes. It looks at nothing yet. The record is the copy's
	// from then on: it is kept up to date.
	Open(r *catalog.Snapshot) Copy
	// DropRemains removes everything that exists of a set that was not finished, on this host and at the provider.
	// Records are the set's copies of this kind, as far as any were recorded. It may be repeated.
	DropRemains(ctx context.Context, set vss.SnapshotSetID, records []*catalog.Snapshot) error
	// Inspect compares what the provider has with what is known and returns what differs.
	Inspect(ctx context.Context, known Known) ([]Finding, error)
	// Unload informs the provider that it is no longer used. The error is the provider's own.
	Unload(ctx context.Context, force bool) error
}

// Offer is how a kind would copy a volume.
type Offer struct {
	provider.Offer
	sources []vss.LUNInformation // LUN copies: the originals, as the provider completed them
}

// Obstacle is the reason why a kind can't copy a volume now. It matches the code of its error.
type Obstacle struct{ Err error }

func (o *Obstacle) Error() string { return o.Err.Error() }

// Unwrap returns the reason.
func (o *Obstacle) Unwrap() error { return o.Err }

// Member is a kind's part in the creation of one set. It knows only the copies that it began, and its provider receives
// no others. Apart from Uses, which may be called at any time, methods are called one after the other; Abort may come
// while EndPrepare waits. Methods that call the provider contain the fault points "provider/METHOD".
type Member interface {
	Kind() Kind
	// Begin starts the slow work for one copy (BeginPrepareSnapshot), with the offer that Consider made.
	Begin(ctx context.Context, id vss.SnapshotID, v *volume.Volume, o Offer) error
	// Uses reports whether a LUN is one that the member copies.
	Uses(id vss.LUNID) bool
	// EndPrepare waits until all that was begun is ready and durable (EndPrepareSnapshots). It returns write paths that
	// were not known before. A provider that shows no progress for five minutes has failed.
	EndPrepare(ctx context.Context, progress func(percent float64)) (writes []string, err error)
	// Intent opens and locks the originals and adds to the record what a crash would have to put back. The caller makes
	// the record durable before it calls Mark.
	Intent(ctx context.Context, rec *catalog.Creation) error
	// Mark sets the shadow copy flags on the originals, so that copies are born with them.
	Mark(ctx context.Context) error
	// Unmark puts the flags of the originals back. It does nothing unless Mark was called, or after it has succeeded.
	Unmark(ctx context.Context) error
	// Verify reads the originals again and returns an error if their flags aren't what they were before Mark.
	Verify(ctx context.Context) error
	// Release closes and unlocks everything that Intent and BeginRecovery hold. It may be called at any time, and
	// repeated.
	Release()
	// Pause stops background work that would write during the hold, until resume is called.
	Pause(ctx context.Context) (resume func(), err error)
	PreCommit(ctx context.Context) error
	// Commit takes the point in time. Ctx carries the deadline of the hold: a provider that isn't back by then has
	// failed with VSS_E_HOLD_WRITES_TIMEOUT; its later result is ignored.
	Commit(ctx context.Context) error
	// PostCommit informs the provider that writes have resumed; count is the number of copies in the set.
	PostCommit(ctx context.Context, count int) error
	// Collect fills in the records of this member's copies, matched by id, with what the provider returns for them:
	// provider, kind, attributes, LUNs or payload, first and last cut.
	Collect(ctx context.Context, records []*catalog.Snapshot) error
	// BeginRecovery announces writes to the provider and makes the copies writable; EndRecovery makes them
	// read-only again. The copies are this member's, as Surface returned them.
	BeginRecovery(ctx context.Context, here []Copy) error
	EndRecovery(ctx context.Context, here []Copy) error
	PreFinalCommit(ctx context.Context) error
	PostFinalCommit(ctx context.Context) error
	// Abort makes the provider delete what it created. An unknown set isn't an error; other errors aren't translated.
	Abort(ctx context.Context) error
}

// Copy is one shadow copy that exists. What it finds out about where the copy is, it keeps: a copy's disks are looked
// up once for each Copy.
type Copy interface {
	// Record returns the record that the copy was opened with.
	Record() *catalog.Snapshot
	Kind() Kind
	// Source returns the devices or the folder where the copy is now. Errors: VSS_E_MISSING_DISK, VSS_E_MISSING_VOLUME.
	Source(ctx context.Context) (provider.Location, error)
	// ReadOnly makes the copy refuse writes, or take them.
	ReadOnly(ctx context.Context, on bool) error
	// Withdraw takes the copy off this host. Mounts in use are taken out of sight with force.
	Withdraw(ctx context.Context, force bool) error
	// Restore makes the copy what it is between two starts of the service: on this host and read-only.
	Restore(ctx context.Context) error
	// TakeAway ends access to the copy in a way that Restore can undo. Kept reports what other copies need. Errors:
	// VSS_E_VOLUME_IN_USE.
	TakeAway(ctx context.Context, kept Kept, force bool) error
	// Remove deletes the copy permanently, after TakeAway. A missing copy isn't an error. Resumed reports that a former
	// service had begun the deletion.
	Remove(ctx context.Context, kept Kept, resumed bool) error
}

// Kept reports whether another copy needs a LUN.
type Kept func(id vss.LUNID) bool

// Breaker is a kind whose copies can become ordinary volumes. Sets with copies of any other kind aren't broken
// (VSS_E_PROVIDER_VETO).
type Breaker interface {
	// CheckBreak prepares a break of these copies, all of this kind, and changes nothing. Errors:
	// VSS_E_OBJECT_NOT_FOUND for copies that aren't imported here, VSS_E_MISSING_DISK, VSS_E_BREAK_REVERT_ID_FAILED.
	CheckBreak(ctx context.Context, records []*catalog.Snapshot, flags vss.BreakFlags) (Break, error)
	// ResumeBreak returns a recorded break, to be finished or undone. Its Apply goes on with a break that masks, and is
	// not called for others.
	ResumeBreak(records []*catalog.Snapshot, b catalog.Break) Break
}

// Break is a break of one kind's copies.
type Break interface {
	// Before returns what Undo needs; the caller makes it durable before Apply.
	Before() []catalog.BreakLUN
	// Apply gives the copies the state that was asked for. When it fails, Undo must follow. It contains the fault
	// points "break/uninstall", "break/identity", "break/flags" and "break/file-system".
	Apply(ctx context.Context) error
	// Undo makes the copies what they were. It may be repeated, also after a restart.
	Undo(ctx context.Context) error
	// Finish makes the copies plain LUNs in their array ("break/make-plain"). After it the set is to be forgotten.
	Finish(ctx context.Context) error
	// Result returns what became of each LUN.
	Result(ctx context.Context) []Broken
}

// Broken is what a break did to one LUN.
type Broken struct {
	LUN            vss.LUNID
	OriginalVolume string
	Device         string // the disk; "" when masked
	VolumeDevice   string // the device that holds the volume; "" when masked
	ReadWrite      bool
	Masked         bool
	Reverted       bool // the disk has its original's identity, else the one it got at import
}

// Keeper is a kind whose provider records for itself which copies belong to a set that was created.
type Keeper interface {
	// Kept returns the names of the copies of a set that the provider calls final.
	Kept(ctx context.Context, set vss.SnapshotSetID) ([]string, error)
}

// Importer is a kind whose sets can be imported from another host.
type Importer interface {
	// SendAway masks the copies that could not be imported from this host again; they stay in the array. Records are
	// those of this kind in the set, the imported ones too.
	SendAway(ctx context.Context, records []*catalog.Snapshot)
}

// Watcher is a kind that reports what happens to its copies by itself.
type Watcher interface {
	// Watch returns the provider's events until ctx ends.
	Watch(ctx context.Context) (<-chan provider.Event, error)
}

// Known is what the catalogue says, as of one moment.
type Known struct {
	Copies []catalog.Snapshot         // all copies, finished or not
	Busy   map[vss.SnapshotSetID]bool // sets that an operation works on: they are left out of account
	// Creating reports that a set is being created: originals may carry flags.
	Creating bool
}

// copy finds a copy by its id.
func (k *Known) copy(id vss.SnapshotID) (*catalog.Snapshot, bool) {
	i := slices.IndexFunc(k.Copies, func(r catalog.Snapshot) bool { return r.ID == id })
	if i < 0 {
		return nil, false
	}
	return &k.Copies[i], true
}

// Finding is something that is not as it should be. Repair puts it right where that is safe; nil leaves it to people.
type Finding struct {
	Severity string // "info", "warning", "error"
	What     string
	Hint     string
	Repair   func(context.Context) error
}
