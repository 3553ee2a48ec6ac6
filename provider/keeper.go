package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Copier takes copies for a Keeper, each at a path of its own: a file or a folder.
//
// Errors without a code of VSS become VSS_E_PROVIDER_VETO.
type Copier interface {
	// Consider is Software.Consider for the contexts that the provider's capabilities allow.
	Consider(ctx context.Context, v Volume) (Offer, error)
	// Prepare does the slow work for one copy, at a path that doesn't exist yet, and opens all that Take needs. It
	// stops when ctx ends.
	Prepare(ctx context.Context, v Volume, path string) (Taker, error)
	// Surface, SetWritable and Withdraw are those of Software, for the copy at a path.
	Surface(ctx context.Context, path string) (Location, error)
	SetWritable(ctx context.Context, path string, on bool) error
	Withdraw(ctx context.Context, path string, force bool) error
	// Delete deletes what is at the path, finished or not, or nothing. The copy was withdrawn before.
	Delete(ctx context.Context, path string) error
}

// Taker is a copy that is prepared.
type Taker interface {
	// Take takes the copy while writes to the volume are held: it must not open files, log, or write to the volume.
	Take(ctx context.Context) error
	// Close releases what Prepare opened, after Take or in its place.
	Close() error
}

// Keeper is a Software that keeps its copies in a folder and leaves taking them to a Copier. It sees to the order of
// calls, to records of copies that survive its process, and to what a former process left unfinished.
//
// A copy is at FOLDER/SET.COPY; a set that is created has a record, FOLDER/SET.json.
type Keeper struct {
	SoftwareBase
	props  Properties
	folder string
	copier Copier
	log    *slog.Logger

	mu       sync.Mutex // the fields below, and the records
	begun    []*begun   // of the set that is being created
	deferred []error    // to be logged when writes aren't held any more
}

// begun is a copy that is being created.
type begun struct {
	keptCopy
	volume Volume
	offer  Offer
	path   string
	taker  Taker
	first  time.Time
	last   time.Time
}

// keptCopy is a copy in a record.
type keptCopy struct {
	SnapshotProperties
	VolumeUUID string
}

// NewKeeper returns a provider with the given properties, over a folder that only it uses. Errors: E_INVALIDARG for
// properties that are incomplete; VSS_E_UNEXPECTED if the folder can't be made.
func NewKeeper(props Properties, folder string, c Copier, logger *slog.Logger) (*Keeper, error) {
	if err := props.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, vss.E("NewKeeper", vss.ErrUnexpected, err).On(folder)
	}
	k := &Keeper{props: props, folder: folder, copier: c, log: logger}
	k.Machine = NewMachine(k.drop)
	return k, nil
}

var _ Software = (*Keeper)(nil)

// answer makes an error of the copier a legal one, and logs it: VSS_E_PROVIDER_VETO needs a reason in the log.
func (k *Keeper) answer(op, object string, err error) error {
	var coded *vss.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	err = vss.E(op, vss.ErrProviderVeto, err).On(object)
	k.log.Error("a call failed", "error", err)
	return err
}

// flush logs what couldn't be logged while writes were held.
func (k *Keeper) flush() {
	k.mu.Lock()
	deferred := k.deferred
	k.deferred = nil
	k.mu.Unlock()
	for _, err := range deferred {
		k.log.Error("a call failed", "error", err)
	}
}

// Properties implements Provider.
func (k *Keeper) Properties(context.Context) (Properties, error) { return k.props, nil }

// OnLoad undoes what a former process, or a former connection, left unfinished.
func (k *Keeper) OnLoad(ctx context.Context) error {
	if err := k.SoftwareBase.OnLoad(ctx); err != nil {
		return err
	}
	_, err := k.dropFiles(ctx, "*")
	return k.answer("OnLoad", k.folder, err)
}

// IsVolumeSupported implements Software.
func (k *Keeper) IsVolumeSupported(ctx context.Context, v Volume, c vss.Context) (bool, error) {
	_, err := k.Consider(ctx, v, c)
	switch vss.CodeOf(err) {
	case vss.ErrVolumeNotSupportedByProvider, vss.ErrVolumeNotSupported:
		return false, nil
	case vss.ErrInsufficientStorage, vss.ErrMaximumNumberOfSnapshotsReached: // not now, but in principle
		return true, nil
	}
	return err == nil, err
}

// Consider implements Software.
func (k *Keeper) Consider(ctx context.Context, v Volume, c vss.Context) (Offer, error) {
	if err := k.props.Allows(c); err != nil {
		return Offer{}, vss.E("Consider", vss.ErrVolumeNotSupportedByProvider, err).On(v.Name)
	}
	o, err := k.copier.Consider(ctx, v)
	return o, k.answer("Consider", v.Name, err)
}

// BeginPrepareSnapshot implements Software. The slow work is done in EndPrepareSnapshots.
func (k *Keeper) BeginPrepareSnapshot(
	ctx context.Context, set vss.SnapshotSetID, snapshot vss.SnapshotID, v Volume, c vss.Context,
) error {
	return k.Machine.Begin(ctx, set, func(ctx context.Context) error {
		offer, err := k.Consider(ctx, v, c)
		if err != nil {
			return err
		}
		host, err := os.Hostname()
		if err != nil {
			return k.answer("BeginPrepareSnapshot", v.Name, err)
		}
		path := k.path(set, snapshot)
		b := &begun{volume: v, offer: offer, path: path, keptCopy: keptCopy{VolumeUUID: v.UUID}}
		b.SnapshotProperties = SnapshotProperties{
			ID: snapshot, SetID: set, DeviceObject: path, OriginalVolume: v.Name, OriginatingHost: host,
			ServiceHost: host,
			ProviderID:  k.props.ID, Attributes: c | k.method(c), State: vss.StateCreated,
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.begun = slices.DeleteFunc(k.begun, func(old *begun) bool { return old.SetID != set }) // a created set
		k.begun = append(k.begun, b)
		return nil
	})
}

// method is how copies with a context are made: as asked, or as the provider can.
func (k *Keeper) method(c vss.Context) vss.Attributes {
	if c.Has(vss.AttrDifferential) || !c.Has(vss.AttrPlex) && k.props.Can(CanDifferential) {
		return vss.AttrDifferential
	}
	return vss.AttrPlex
}

// copies returns the copies of a set that is being created. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Keeper) copies(op string, set vss.SnapshotSetID) ([]*begun, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(k.begun), func(b *begun) bool { return b.SetID != set })
	if len(all) == 0 {
		return nil, unknownSet(op, set)
	}
	return all, nil
}

// step makes a step that does something with every copy of a set.
func (k *Keeper) step(
	ctx context.Context,
	c Call,
	set vss.SnapshotSetID,
	do func(context.Context, []*begun) error,
) error {
	return k.Machine.Step(ctx, c, set, func(ctx context.Context) error {
		all, err := k.copies(c.String(), set)
		if err != nil {
			return err
		}
		return do(ctx, all)
	})
}

// EndPrepareSnapshots implements Provider.
func (k *Keeper) EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return k.step(ctx, CallEndPrepare, set, func(ctx context.Context, all []*begun) error {
		for n, b := range all {
			Report(ctx, 100*float64(n)/float64(len(all)))
			t, err := k.copier.Prepare(ctx, b.volume, b.path)
			if err != nil {
				return k.answer(CallEndPrepare.String(), b.OriginalVolume, err)
			}
			b.taker = t
		}
		return k.answer(CallEndPrepare.String(), set.String(), ctx.Err())
	})
}

// WritePaths implements Software.
func (k *Keeper) WritePaths(_ context.Context, set vss.SnapshotSetID) ([]string, error) {
	all, err := k.copies("WritePaths", set)
	var paths []string
	for _, b := range all {
		paths = append(paths, b.path)
	}
	return paths, err
}

// CommitSnapshots implements Provider. An error is logged later: nothing may be logged while writes are held.
func (k *Keeper) CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return k.step(ctx, CallCommit, set, func(ctx context.Context, all []*begun) error {
		instant := time.Now()
		for _, b := range all {
			b.first, b.last = instant, instant
			if b.offer.Hold == HoldFlush { // the volume isn't held: the copy is of the moment when it is taken
				b.first = time.Now()
			}
			if err := b.taker.Take(ctx); err != nil {
				err = vss.E(CallCommit.String(), vss.ErrProviderVeto, err).On(b.OriginalVolume)
				k.mu.Lock()
				k.deferred = append(k.deferred, err)
				k.mu.Unlock()
				return err
			}
			if b.offer.Hold == HoldFlush {
				b.last = time.Now()
			}
		}
		return nil
	})
}

// PostCommitSnapshots implements Provider.
func (k *Keeper) PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, count int) error {
	k.flush()
	return k.step(ctx, CallPostCommit, set, func(_ context.Context, all []*begun) error {
		for _, b := range all {
			b.Count, b.Created = count, b.last
			if err := b.taker.Close(); err != nil {
				return k.answer(CallPostCommit.String(), b.OriginalVolume, err)
			}
			b.taker = nil
		}
		return nil
	})
}

// Describe implements Software. The payload is the name of the copy in the folder.
func (k *Keeper) Describe(_ context.Context, set vss.SnapshotSetID, snapshot vss.SnapshotID) (Copy, error) {
	all, err := k.copies("Describe", set)
	if err != nil {
		return Copy{}, err
	}
	for _, b := range all {
		switch _, state := k.Machine.Now(); {
		case b.ID != snapshot:
		case state != vss.StatePostCommitted && state != vss.StatePreFinalCommitted && state != vss.StateCreated:
			return Copy{}, vss.E("Describe", vss.ErrBadState, fmt.Errorf("the set is %s", state)).On(snapshot.String())
		default:
			return Copy{
				Payload: []byte(filepath.Base(b.path)), Version: 1, FirstCut: b.first, LastCut: b.last,
				Attributes: b.Attributes & (vss.AttrDifferential | vss.AttrPlex),
			}, nil
		}
	}
	return Copy{}, unknownCopy("Describe", snapshot)
}

// PostFinalCommitSnapshots implements Provider: with its record the set is created.
func (k *Keeper) PostFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return k.step(ctx, CallPostFinalCommit, set, func(_ context.Context, all []*begun) error {
		var kept []keptCopy
		for _, b := range all {
			kept = append(kept, b.keptCopy)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.answer(CallPostFinalCommit.String(), set.String(), k.save(set, kept))
	})
}

// AbortSnapshots implements Provider. The files of a former process's set are found in the folder.
func (k *Keeper) AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	k.flush()
	err := k.Machine.Abort(ctx, set)
	if errors.Is(err, vss.ErrObjectNotFound) {
		n, ferr := k.dropFiles(ctx, set.String())
		if n > 0 || ferr != nil {
			return k.answer(CallAbort.String(), set.String(), ferr)
		}
	}
	return err
}

// drop undoes a set that isn't created, for the machine.
func (k *Keeper) drop(ctx context.Context, set vss.SnapshotSetID) error {
	k.mu.Lock()
	var errs []error
	for _, b := range k.begun {
		if b.SetID == set && b.taker != nil {
			errs = append(errs, b.taker.Close())
		}
	}
	k.begun = slices.DeleteFunc(k.begun, func(b *begun) bool { return b.SetID == set })
	k.mu.Unlock()
	_, err := k.dropFiles(ctx, set.String())
	return k.answer(CallAbort.String(), set.String(), errors.Join(append(errs, err)...))
}

// dropFiles deletes the copies of sets that have no record, and returns their number. Set may be "*".
func (k *Keeper) dropFiles(ctx context.Context, set string) (int, error) {
	paths, err := filepath.Glob(filepath.Join(k.folder, set+".{*}"))
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for _, path := range paths {
		id, _, _ := strings.Cut(filepath.Base(path), ".")
		if _, err := os.Stat(k.record(id)); err == nil {
			continue
		}
		n++
		errs = append(errs, k.remove(ctx, path, true))
	}
	return n, errors.Join(errs...)
}

// remove withdraws and deletes what is at a path.
func (k *Keeper) remove(ctx context.Context, path string, force bool) error {
	if err := k.copier.Withdraw(ctx, path, force); err != nil {
		return err
	}
	return k.copier.Delete(ctx, path)
}

// path returns where a copy is.
func (k *Keeper) path(set vss.SnapshotSetID, snapshot vss.SnapshotID) string {
	return filepath.Join(k.folder, set.String()+"."+snapshot.String())
}

// record returns the path of a set's record.
func (k *Keeper) record(set string) string { return filepath.Join(k.folder, set+".json") }

// save replaces a set's record, and removes it for a set without copies. The caller holds mu.
func (k *Keeper) save(set vss.SnapshotSetID, kept []keptCopy) error {
	if len(kept) == 0 {
		return os.Remove(k.record(set.String()))
	}
	b, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return atomicfile.Write(k.record(set.String()), b)
}

// load returns the contents of all records. The caller holds mu.
func (k *Keeper) load() ([]keptCopy, error) {
	paths, err := filepath.Glob(k.record("*"))
	if err != nil {
		return nil, err
	}
	var all []keptCopy
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var kept []keptCopy
		if err == nil {
			err = json.Unmarshal(b, &kept)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, kept...)
	}
	return all, nil
}

// kept returns the copies of all created sets, without those that were deleted by a process that died before it changed
// the record. The caller holds mu.
func (k *Keeper) kept() ([]keptCopy, error) {
	all, err := k.load()
	return slices.DeleteFunc(all, func(c keptCopy) bool {
		_, err := os.Lstat(k.path(c.SetID, c.ID))
		return errors.Is(err, fs.ErrNotExist)
	}), err
}
