package requester

import (
	"context"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// StartSnapshotSet starts a new, empty set. Errors: VSS_E_SNAPSHOT_SET_IN_PROGRESS (another one is being created: try
// again).
func (b *BackupComponents) StartSnapshotSet(ctx context.Context) (id vss.SnapshotSetID, err error) {
	r, err := b.c.StartSnapshotSet(ctx, b.session())
	if err == nil {
		id.GUID, err = guid(r.GetSetId())
	}
	return id, err
}

// AddToSnapshotSet adds a volume to the set and returns the id of its copy. A volume is named by mount point, device,
// UUID= or LABEL=, a provider by id or name; if provider is "" the service chooses one. Errors: VSS_E_OBJECT_NOT_FOUND,
// VSS_E_OBJECT_ALREADY_EXISTS, VSS_E_VOLUME_NOT_SUPPORTED, VSS_E_NESTED_VOLUME_LIMIT,
// VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED, and others: see api/vss/v1/coordinator.proto.
func (b *BackupComponents) AddToSnapshotSet(ctx context.Context, volume, provider string) (id vss.SnapshotID,
	err error) {
	r, err := b.c.AddToSnapshotSet(ctx, &vssv1.AddToSnapshotSetRequest{Session: b.token, Volume: volume,
		Provider: provider})
	if err == nil {
		id.GUID, err = guid(r.GetSnapshotId())
	}
	return id, err
}

// IsVolumeSupported reports whether the provider can copy the volume in principle.
func (b *BackupComponents) IsVolumeSupported(ctx context.Context, volume, provider string) (bool, error) {
	r, err := b.c.IsVolumeSupported(ctx, &vssv1.VolumeRequest{Session: b.token, Volume: volume, Provider: provider})
	return r.GetValue(), err
}

// IsVolumeSnapshotted reports whether a volume has copies, and which operations on it they prevent.
func (b *BackupComponents) IsVolumeSnapshotted(ctx context.Context, volume string) (bool, vss.SnapshotCompatibility,
	error) {
	r, err := b.c.IsVolumeSnapshotted(ctx, &vssv1.VolumeRequest{Session: b.token, Volume: volume})
	return r.GetPresent(), vss.SnapshotCompatibility(r.GetCompatibility()), err
}

// DoSnapshotSet makes the copies of the set. The hold limit is at most 10 s; 0 is the limit of the service.
func (b *BackupComponents) DoSnapshotSet(ctx context.Context, holdLimit time.Duration) (*Async, error) {
	if holdLimit > 0 { // what isn't 0 must not become 0
		holdLimit = max(holdLimit, time.Millisecond)
	}
	return b.async(b.c.DoSnapshotSet(ctx, &vssv1.DoSnapshotSetRequest{Session: b.token,
		HoldLimitMs: holdLimit.Milliseconds()}))
}

// ImportSnapshots imports the set whose document was given to InitializeForBackup: its copies appear on this host. Its
// Async returns VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED if some are missing. Errors: VSS_E_NO_SNAPSHOTS_IMPORTED,
// VSS_E_NONTRANSPORTABLE_BCD, VSS_E_BAD_STATE.
func (b *BackupComponents) ImportSnapshots(ctx context.Context) (*Async, error) {
	return b.async(b.c.ImportSnapshots(ctx, b.session()))
}

func (b *BackupComponents) snapshot(id vss.SnapshotID) *vssv1.SnapshotRequest {
	return &vssv1.SnapshotRequest{Session: b.token, SnapshotId: id.String()}
}

// GetSnapshotProperties returns a finished copy of any context. Errors: VSS_E_OBJECT_NOT_FOUND.
func (b *BackupComponents) GetSnapshotProperties(ctx context.Context, id vss.SnapshotID) (Snapshot, error) {
	return snapshotReply(b.c.GetSnapshotProperties(ctx, b.snapshot(id)))
}

// QuerySnapshots lists the finished copies of the session's context, with VSS_CTX_ALL those of all contexts. Source:
// Query.
func (b *BackupComponents) QuerySnapshots(ctx context.Context) ([]Snapshot, error) {
	r, err := b.c.Query(ctx, &vssv1.QueryRequest{Session: b.token, ReturnedType: int32(vss.ObjectSnapshot)})
	if err != nil {
		return nil, err
	}
	return convert(r.GetSnapshots(), snapshot)
}

// QueryProviders lists the registered providers. Source: Query.
func (b *BackupComponents) QueryProviders(ctx context.Context) ([]Provider, error) {
	r, err := b.c.Query(ctx, &vssv1.QueryRequest{Session: b.token, ReturnedType: int32(vss.ObjectProvider)})
	if err != nil {
		return nil, err
	}
	return convert(r.GetProviders(), provider)
}

// DeleteSnapshots deletes a copy, or the copies of a set one after another, up to the first failure. It returns the
// copies that were deleted and the one that could not be. With vss.ObjectUnknown the id may be that of a copy or of a
// set. With force, copies in use are deleted too. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_VOLUME_IN_USE.
func (b *BackupComponents) DeleteSnapshots(ctx context.Context, id vss.GUID, t vss.ObjectType,
	force bool) (deleted []vss.SnapshotID, notDeleted vss.SnapshotID, err error) {
	r, err := b.c.DeleteSnapshots(ctx, &vssv1.DeleteSnapshotsRequest{Session: b.token, Id: id.String(), Type: int32(t),
		Force: force})
	if err != nil {
		return nil, notDeleted, err
	}
	deleted, err = convert(r.GetDeleted(), func(s string) (id vss.SnapshotID, err error) {
		id.GUID, err = guid(s)
		return id, err
	})
	if err == nil {
		notDeleted.GUID, err = guid(r.GetNotDeleted())
	}
	if err == nil {
		err = wire.UnmarshalError(r.GetError())
	}
	return deleted, notDeleted, err
}

// BreakSnapshotSetEx breaks a set: the LUNs of its copies become ordinary LUNs. GetBreakResult returns the result. Root
// only. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO, VSS_E_BREAK_REVERT_ID_FAILED (the set is unchanged).
func (b *BackupComponents) BreakSnapshotSetEx(ctx context.Context, id vss.SnapshotSetID, flags vss.BreakFlags) (*Async,
	error) {
	return b.async(b.c.BreakSnapshotSetEx(ctx, &vssv1.BreakRequest{Session: b.token, SetId: id.String(),
		Flags: uint32(flags)}))
}

// BreakSnapshotSet breaks a set without flags. Root only.
func (b *BackupComponents) BreakSnapshotSet(ctx context.Context, id vss.SnapshotSetID) ([]BrokenLUN, error) {
	return brokenReply(b.c.BreakSnapshotSet(ctx, &vssv1.SetRequest{Session: b.token, SetId: id.String()}))
}

// GetBreakResult returns what a finished BreakSnapshotSetEx did to each LUN.
func (b *BackupComponents) GetBreakResult(ctx context.Context, a *Async) ([]BrokenLUN, error) {
	return brokenReply(b.c.GetBreakResult(ctx, &vssv1.AsyncRequest{Session: b.token, Async: a.id}))
}

// ExposeSnapshot mounts a copy read-only at name: an empty directory, or a drive letter that the configuration maps.
// Errors: E_INVALIDARG, VSS_E_OBJECT_NOT_FOUND (no such copy, or not imported on this host),
// VSS_E_OBJECT_ALREADY_EXISTS.
func (b *BackupComponents) ExposeSnapshot(ctx context.Context, id vss.SnapshotID, pathFromRoot string,
	attributes vss.Attributes, name string) (Snapshot, error) {
	return snapshotReply(b.c.ExposeSnapshot(ctx, &vssv1.ExposeRequest{
		Session: b.token, SnapshotId: id.String(), PathFromRoot: pathFromRoot, Attributes: uint32(attributes),
		Name: name,
	}))
}

// UnexposeSnapshot ends the exposure of a copy. Errors: VSS_E_OBJECT_NOT_FOUND (no such copy, or not exposed).
func (b *BackupComponents) UnexposeSnapshot(ctx context.Context, id vss.SnapshotID) (Snapshot, error) {
	return snapshotReply(b.c.UnexposeSnapshot(ctx, b.snapshot(id)))
}

// MountSnapshot mounts a copy at a private directory, Snapshot.Path, until the session is closed.
func (b *BackupComponents) MountSnapshot(ctx context.Context, id vss.SnapshotID) (Snapshot, error) {
	return snapshotReply(b.c.MountSnapshot(ctx, b.snapshot(id)))
}
