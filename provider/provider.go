// Package provider is for authors of providers: programs that make copies of volumes or LUNs for the Volume Shadow Copy
// Service.
//
// A provider implements Hardware (it copies whole LUNs inside a storage array) or Software (it keeps copies of
// volumes on its host). Serve makes it available to the service at a socket in RUN/providers. Package providertest
// and the program vss-conform test it. Machine, Base and Keeper take over what providers have in common;
// examples/provider is a complete provider of 150 lines.
//
// # The calls for one set
//
// The service creates one shadow copy set at a time. For a set of two volumes on this provider it calls:
//
//	IsVolumeSupported, Consider   // or AreLUNsSupported: while the requester adds volumes
//	BeginPrepareSnapshot          // once per copy; start the slow work and return
//	EndPrepareSnapshots           // wait for it; what the commit needs is open and durable now
//	WritePaths                    // Software: what the commit will write to
//	PreCommitSnapshots            // applications are frozen, I/O still runs
//	CommitSnapshots               // writes to all volumes are held: take the copies, in well under a second
//	PostCommitSnapshots           // writes run again
//	GetTargetLUNs, LocateLUNs     // Hardware: describe the copies, show them to this host
//	Describe, Surface             // Software: the same
//	PreFinalCommitSnapshots       // applications may now change their data in the copies
//	PostFinalCommitSnapshots      // the set is created; the copies are read-only from now on
//
// AbortSnapshots ends a set that is not created, at any time after EndPrepareSnapshots was called, also while that
// waits; the copies are deleted. If BeginPrepareSnapshot is called for another set, the present one was abandoned and
// is undone without a call. Calls in any other order fail with VSS_E_PROVIDER_VETO, and calls for an unknown set with
// VSS_E_OBJECT_NOT_FOUND. Machine implements these rules.
//
// Later the service deletes the copies: OnLUNEmpty, or DeleteSnapshots.
//
// # An example
//
// Three steps of a hardware provider, with a Machine that enforces the order:
//
//	func (p *Array) BeginPrepareSnapshot(ctx context.Context, set vss.SnapshotSetID, ...) error {
//		return p.machine.Begin(ctx, set, func(ctx context.Context) error {
//			return p.reserve(ctx, set, luns) // start to allocate LUNs for the copies
//		})
//	}
//
//	func (p *Array) EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
//		return p.machine.Step(ctx, provider.CallEndPrepare, set, func(ctx context.Context) error {
//			return p.wait(ctx, set) // ctx ends when the set is aborted
//		})
//	}
//
//	func (p *Array) CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
//		return p.machine.Step(ctx, provider.CallCommit, set, func(ctx context.Context) error {
//			return p.split(ctx, set) // over a connection that is open already
//		})
//	}
//
// # If the process ends
//
// The service notices when a provider's process ends: the call under way fails, and a set that is being created fails
// with it. The next process is loaded with OnLoad. It must delete what the former one left of sets that were not
// created, then or when AbortSnapshots names them. Created copies are described by what the provider returned before
// (the LUN's description, or Copy.Payload), and the next process must serve them.
//
// # Results
//
// Every method may return S_OK, E_OUTOFMEMORY, E_INVALIDARG, E_ACCESSDENIED, VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND,
// VSS_E_INSUFFICIENT_STORAGE, VSS_E_VOLUME_NOT_SUPPORTED, VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
// VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED, VSS_E_PROVIDER_VETO, VSS_E_CANNOT_REVERT_DISKID and what its comment
// adds. The service replaces any other by VSS_E_UNEXPECTED_PROVIDER_ERROR. A provider that returns
// VSS_E_PROVIDER_VETO must have logged the reason, but must not log in CommitSnapshots. Source:
// error-handling-in-shadow-copy-providers, shadow-copy-creation-for-providers.
package provider

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Properties describe a provider (VSS_PROVIDER_PROP).
type Properties struct {
	ID           vss.ProviderID // permanent; updates keep it
	Name         string
	Type         vss.ProviderType
	Version      string
	VersionID    vss.GUID // unique together with ID
	Capabilities []Capability
}

// Provider has the calls of every kind of provider (IVssProviderCreateSnapshotSet and IVssProviderNotifications). The
// package comment has their order.
type Provider interface {
	// Properties returns the same properties each time. It is cheap and may be called at any time.
	Properties(ctx context.Context) (Properties, error)
	// OnLoad is called once on each connection, before any other call except Properties.
	OnLoad(ctx context.Context) error
	// OnUnload is called before the service releases the provider. Without force it may refuse by returning vss.False
	// while a set is being created; with force it undoes that set. Created copies are kept.
	OnUnload(ctx context.Context, force bool) error
	// EndPrepareSnapshots waits for the work that BeginPrepareSnapshot started. When it returns, everything that is
	// slow or needs space, files or connections is ready and durable. It reports its progress with Report; the
	// service gives up a call that reports none for five minutes. It returns at once, with an error, when
	// AbortSnapshots is called.
	EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// PreCommitSnapshots is the last preparation, while writers are frozen and I/O still runs. It takes a second or
	// two at most.
	PreCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// CommitSnapshots takes the copies while all writes to the volumes of the set are held. It returns in well under a
	// second. It must not write files, log, or do I/O to the volumes, and must not return before the copies are
	// complete.
	CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// PostCommitSnapshots is called when writes run again; count is the number of copies in the set.
	PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, count int) error
	// PreFinalCommitSnapshots is called when the copies are surfaced. Many writes to them may follow (auto-recovery).
	PreFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// PostFinalCommitSnapshots ends the creation. From now on the copies are read-only, and AbortSnapshots keeps them.
	PostFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error
	// AbortSnapshots undoes a set that is not created, including copies that are taken. It may be called again, and for
	// sets of a former process. Errors: VSS_E_OBJECT_NOT_FOUND for an unknown set, which the service ignores.
	AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error
}

// Hardware is a provider that copies whole LUNs inside a storage array (IVssHardwareSnapshotProvider and ...Ex).
// It must not rescan buses, change the flags on the LUNs, or map a copy read-only. It keeps no state of its own: what
// it needs later is in the LUN descriptions that it has returned.
type Hardware interface {
	Provider
	// AreLUNsSupported reports whether all of these LUNs can be copied now with this context; true is a promise. It
	// returns false, without an error, for a temporary shortage and for LUNs of other arrays. It returns the
	// descriptions, which it may complete, except for their interconnects.
	AreLUNsSupported(
		ctx context.Context,
		c vss.Context,
		devices []string,
		luns []vss.LUNInformation,
	) (bool, []vss.LUNInformation, error)
	// BeginPrepareSnapshot starts the slow work for one copy and returns at once. A LUN that another copy of the set
	// has named is copied once. Errors: also VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED, VSS_E_NESTED_VOLUME_LIMIT,
	// VSS_E_UNSUPPORTED_CONTEXT.
	BeginPrepareSnapshot(ctx context.Context, set vss.SnapshotSetID, snapshot vss.SnapshotID, c vss.Context,
		devices []string, luns []vss.LUNInformation) error
	// GetTargetLUNs returns the descriptions of the copies of these originals, in the same order. It is called after
	// PostCommitSnapshots, when no host sees the copies yet. Errors: VSS_E_BAD_STATE before the copies are taken.
	GetTargetLUNs(
		ctx context.Context,
		set vss.SnapshotSetID,
		devices []string,
		sources []vss.LUNInformation,
	) ([]vss.LUNInformation, error)
	// LocateLUNs unmasks the copies to this host, read/write. Errors: VSS_E_BAD_STATE if they were imported before.
	LocateLUNs(ctx context.Context, luns []vss.LUNInformation) error
	// FillInLUNInfo completes the description that the host has read of a disk, so that it equals what GetTargetLUNs
	// returned. It returns false, nil for LUNs that this provider does not own.
	FillInLUNInfo(ctx context.Context, device string, info *vss.LUNInformation) (bool, error)
	// OnLUNEmpty deletes a LUN on which no shadow copy is left. Except for AbortSnapshots, nothing else deletes copies.
	// Errors: VSS_E_OBJECT_NOT_FOUND.
	OnLUNEmpty(ctx context.Context, device string, info *vss.LUNInformation) error
	// OnLUNStateChange informs about changes (the Notify flags), or masks the copies from this host and keeps them
	// (DoMaskLUNs). The lists have the same length. It may be called again.
	OnLUNStateChange(ctx context.Context, snapshots, originals []vss.LUNInformation, change vss.LUNStateChange) error
	// ResyncLUNs copies each source, a shadow copy, onto its target inside the array, until ctx ends. It calls
	// progress, which may be nil, with the percentage done. Errors: E_NOTIMPL unless CanResync,
	// VSS_E_INSUFFICIENT_STORAGE.
	ResyncLUNs(ctx context.Context, sources, targets []vss.LUNInformation, progress func(percent float64)) error
}
