// Package provider is for those who write providers: the parts of the Volume Shadow Copy Service that know how to
// make a copy of a volume or of a LUN. A provider implements Hardware or Software, in process or behind Serve; the
// coordinator holds it by the same interface either way. Run providertest against it.
//
// The order of calls for a set is: BeginPrepareSnapshot once per copy, EndPrepareSnapshots, PreCommitSnapshots,
// CommitSnapshots, PostCommitSnapshots, (import), PreFinalCommitSnapshots, PostFinalCommitSnapshots. AbortSnapshots
// may come at any time after EndPrepareSnapshots was called, from another goroutine, also while it waits.
// BeginPrepareSnapshot with another set's id, at any moment, means that the old set is dead.
//
// Legal results are S_OK, E_OUTOFMEMORY, E_INVALIDARG, E_ACCESSDENIED, VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND,
// VSS_E_INSUFFICIENT_STORAGE, VSS_E_VOLUME_NOT_SUPPORTED, VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
// VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED, VSS_E_PROVIDER_VETO, VSS_E_CANNOT_REVERT_DISKID and what a method's
// comment adds; the coordinator turns any other into VSS_E_UNEXPECTED_PROVIDER_ERROR. Source:
// error-handling-in-shadow-copy-providers, shadow-copy-creation-for-providers.
package provider

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Properties tell what a provider is (VSS_PROVIDER_PROP).
type Properties struct {
	ID           vss.ProviderID // for ever, also over updates
	Name         string
	Type         vss.ProviderType
	Version      string
	VersionID    vss.GUID // unique together with ID
	Capabilities []Capability
}

// Provider is what every kind of provider does for a set (IVssProviderCreateSnapshotSet and IVssProviderNotifications).
type Provider interface {
	// Properties returns the provider's identity. It is quick, and may be called at any time.
	Properties(ctx context.Context) (Properties, error)
	// OnLoad comes once after the provider was bound, before anything else. Errors: also VSS_E_PROVIDER_VETO.
	OnLoad(ctx context.Context) error
	// OnUnload comes before the provider is let go. Without force it may refuse with vss.False while work is pending;
	// with force it drops unfinished copies and keeps finished ones.
	OnUnload(ctx context.Context, force bool) error
	// EndPrepareSnapshots waits until all that BeginPrepareSnapshot began is done. On return all that can be slow, and
	// all that needs space, files or connections, is ready and durable. It stops at once when AbortSnapshots comes.
	EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// PreCommitSnapshots is the last arming step: writers are frozen, I/O still runs. A second or two.
	PreCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// CommitSnapshots takes the point in time while all writes to the set are held. Well below a second; no file I/O,
	// no log, no wait but for the copies themselves.
	CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// PostCommitSnapshots comes after the release; count is how many copies the set has.
	PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, count int) error
	// PreFinalCommitSnapshots comes when the copies are surfaced; many writes to them may follow (auto-recovery).
	PreFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// PostFinalCommitSnapshots ends the creation: the copies are read-only from here and AbortSnapshots no longer
	// touches them.
	PostFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// AbortSnapshots undoes everything of a set that isn't created, committed copies included. May be repeated. Errors:
	// VSS_E_OBJECT_NOT_FOUND for a set it doesn't know, which the coordinator tolerates.
	AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error
}

// Hardware is a provider that copies whole LUNs inside a storage array (IVssHardwareSnapshotProvider and ...Ex).
// It never rescans, never touches the LUNs' flags, never maps a copy read-only, and keeps no state of its own: what it
// needs later is in the LUN description that it once returned.
type Hardware interface {
	Provider
	// AreLUNsSupported says whether it can copy all of these LUNs with this context, now. A passing shortage is false,
	// not an error. It may complete the descriptions (not their interconnects) and returns them.
	AreLUNsSupported(
		ctx context.Context,
		c vss.Context,
		devices []string,
		luns []vss.LUNInformation,
	) (bool, []vss.LUNInformation, error)
	// BeginPrepareSnapshot starts the slow work for one copy and returns at once. A LUN already named for this set is
	// counted once. Errors: also VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED, VSS_E_NESTED_VOLUME_LIMIT,
	// VSS_E_UNSUPPORTED_CONTEXT.
	BeginPrepareSnapshot(
		ctx context.Context,
		set vss.SnapshotSetID,
		snapshot vss.SnapshotID,
		c vss.Context,
		devices []string,
		luns []vss.LUNInformation,
	) error
	// GetTargetLUNs describes the copies of these originals, in their order, from the array's own knowledge: nothing of
	// them is visible on any host yet.
	GetTargetLUNs(
		ctx context.Context,
		set vss.SnapshotSetID,
		devices []string,
		sources []vss.LUNInformation,
	) ([]vss.LUNInformation, error)
	// LocateLUNs unmasks the copies to this host, read/write. VSS_E_BAD_STATE: they were imported before.
	LocateLUNs(ctx context.Context, luns []vss.LUNInformation) error
	// FillInLUNInfo completes what the host read of a disk so that it equals GetTargetLUNs. Strangers: false, no error.
	FillInLUNInfo(ctx context.Context, device string, info *vss.LUNInformation) (bool, error)
	// OnLUNEmpty says that no shadow copy is left on the LUN: delete it and reclaim its space. The only such order.
	OnLUNEmpty(ctx context.Context, device string, info *vss.LUNInformation) error
	// OnLUNStateChange informs of changes (Notify... flags), or orders to mask the copies from this host (DoMaskLUNs).
	// The two lists are of the same length. May be repeated.
	OnLUNStateChange(ctx context.Context, snapshots, originals []vss.LUNInformation, change vss.LUNStateChange) error
	// ResyncLUNs copies each source (a shadow copy's LUN) onto its target inside the array; progress is told in percent
	// of the whole and ctx cancels. Errors: E_NOTIMPL unless CanResync, VSS_E_INSUFFICIENT_STORAGE.
	ResyncLUNs(ctx context.Context, sources, targets []vss.LUNInformation, progress func(percent float64)) error
}
