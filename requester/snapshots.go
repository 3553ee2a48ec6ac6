package requester

import (
	"context"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// StartSnapshotSet opens an empty set. Errors: VSS_E_SNAPSHOT_SET_IN_PROGRESS (retryable).
func (b *BackupComponents) StartSnapshotSet(ctx context.Context) (id vss.SnapshotSetID, err error) {
	r, err := b.c.StartSnapshotSet(ctx, b.session())
	if err == nil {
		id.GUID, err = guid(r.GetSetId())
	}
	return id, err
}

// AddToSnapshotSet adds a volume: mount point, device, UUID= or LABEL=. The provider is an id or a name, "" leaves the choice
// to the service. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_OBJECT_ALREADY_EXISTS, VSS_E_VOLUME_NOT_SUPPORTED,
// VSS_E_NESTED_VOLUME_LIMIT, VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED and more: see the service's interface.
func (b *BackupComponents) AddToSnapshotSet(ctx context.Context, volume, provider string) (id vss.SnapshotID, err error) {
	r, err := b.c.AddToSnapshotSet(ctx, &vssv1.AddToSnapshotSetRequest{Session: b.token, Volume: volume, Provider: provider})
	if err == nil {
		id.GUID, err = guid(r.GetSnapshotId())
	}
	return id, err
}

// IsVolumeSupported says whether a copy of the volume is possible in principle.
func (b *BackupComponents) IsVolumeSupported(ctx context.Context, volume, provider string) (bool, error) {
	r, err := b.c.IsVolumeSupported(ctx, &vssv1.VolumeRequest{Session: b.token, Volume: volume, Provider: provider})
	return r.GetValue(), err
}

// IsVolumeSnapshotted says whether a volume has copies, and what those forbid on it.
func (b *BackupComponents) IsVolumeSnapshotted(ctx context.Context, volume string) (bool, vss.SnapshotCompatibility, error) {
	r, err := b.c.IsVolumeSnapshotted(ctx, &vssv1.VolumeRequest{Session: b.token, Volume: volume})
	return r.GetPresent(), vss.SnapshotCompatibility(r.GetCompatibility()), err
}

// DoSnapshotSet closes the set and makes the copies. A hold limit of 0 is the service's, else at most 10 s.
func (b *BackupComponents) DoSnapshotSet(ctx context.Context, holdLimit time.Duration) (*Async, error) {
	if holdLimit > 0 { // what isn't 0 must not become 0
		holdLimit = max(holdLimit, time.Millisecond)
	}
	return b.async(b.c.DoSnapshotSet(ctx, &vssv1.DoSnapshotSetRequest{Session: b.token, HoldLimitMs: holdLimit.Milliseconds()}))
}

// ImportSnapshots surfaces the set of the document given to InitializeForBackup. Its Async may end with
// VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED. Errors: VSS_E_NO_SNAPSHOTS_IMPORTED, VSS_E_NONTRANSPORTABLE_BCD, VSS_E_BAD_STATE.
func (b *BackupComponents) ImportSnapshots(ctx context.Context) (*Async, error) {
	return b.async(b.c.ImportSnapshots(ctx, b.session()))
}

func (b *BackupComponents) snapshot(id vss.SnapshotID) *vssv1.SnapshotRequest {
	return &vssv1.SnapshotRequest{Session: b.token, SnapshotId: id.String()}
}

// GetSnapshotProperties describes a finished copy of any context. Errors: VSS_E_OBJECT_NOT_FOUND.
func (b *BackupComponents) GetSnapshotProperties(ctx context.Context, id vss.SnapshotID) (Snapshot, error) {
	return snapshotReply(b.c.GetSnapshotProperties(ctx, b.snapshot(id)))
}

// QuerySnapshots lists the finished copies of the session's context, of all contexts for VSS_CTX_ALL. Source: Query.
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

// DeleteSnapshots deletes a copy or a set, copy by copy, and stops at the first failure: deleted tells which went, stayed
// which one didn't. Type vss.ObjectUnknown takes whichever has the id. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_VOLUME_IN_USE.
func (b *BackupComponents) DeleteSnapshots(ctx context.Context, id vss.GUID, t vss.ObjectType, force bool) (deleted []vss.SnapshotID, stayed vss.SnapshotID, err error) {
	r, err := b.c.DeleteSnapshots(ctx, &vssv1.DeleteSnapshotsRequest{Session: b.token, Id: id.String(), Type: int32(t), Force: force})
	if err != nil {
		return nil, stayed, err
	}
	deleted, err = convert(r.GetDeleted(), func(s string) (id vss.SnapshotID, err error) {
		id.GUID, err = guid(s)
		return id, err
	})
	if err == nil {
		stayed.GUID, err = guid(r.GetNotDeleted())
	}
	if err == nil {
		err = wire.UnmarshalError(r.GetError())
	}
	return deleted, stayed, err
}

// BreakSnapshotSetEx makes ordinary LUNs of a set's copies. Root only. GetBreakResult tells what it did.
// Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO, VSS_E_BREAK_REVERT_ID_FAILED (the set is intact then).
func (b *BackupComponents) BreakSnapshotSetEx(ctx context.Context, id vss.SnapshotSetID, flags vss.BreakFlags) (*Async, error) {
	return b.async(b.c.BreakSnapshotSetEx(ctx, &vssv1.BreakRequest{Session: b.token, SetId: id.String(), Flags: uint32(flags)}))
}

// BreakSnapshotSet is the break without choices. Root only.
func (b *BackupComponents) BreakSnapshotSet(ctx context.Context, id vss.SnapshotSetID) ([]BrokenLUN, error) {
	return brokenReply(b.c.BreakSnapshotSet(ctx, &vssv1.SetRequest{Session: b.token, SetId: id.String()}))
}

// GetBreakResult tells what a finished BreakSnapshotSetEx did to each LUN.
func (b *BackupComponents) GetBreakResult(ctx context.Context, a *Async) ([]BrokenLUN, error) {
	return brokenReply(b.c.GetBreakResult(ctx, &vssv1.AsyncRequest{Session: b.token, Async: a.id}))
}

// ExposeSnapshot mounts a copy, read-only, at an empty folder, or at a letter that the configuration maps.
// Errors: E_INVALIDARG, VSS_E_OBJECT_NOT_FOUND (no such copy, not imported here), VSS_E_OBJECT_ALREADY_EXISTS.
func (b *BackupComponents) ExposeSnapshot(ctx context.Context, id vss.SnapshotID, pathFromRoot string, attributes vss.Attributes, name string) (Snapshot, error) {
	return snapshotReply(b.c.ExposeSnapshot(ctx, &vssv1.ExposeRequest{
		Session: b.token, SnapshotId: id.String(), PathFromRoot: pathFromRoot, Attributes: uint32(attributes), Name: name,
	}))
}

// UnexposeSnapshot takes the exposure off. Errors: VSS_E_OBJECT_NOT_FOUND also when the copy isn't exposed.
func (b *BackupComponents) UnexposeSnapshot(ctx context.Context, id vss.SnapshotID) (Snapshot, error) {
	return snapshotReply(b.c.UnexposeSnapshot(ctx, b.snapshot(id)))
}

// MountSnapshot makes a copy readable at a private path, Snapshot.Path, until the session is closed.
func (b *BackupComponents) MountSnapshot(ctx context.Context, id vss.SnapshotID) (Snapshot, error) {
	return snapshotReply(b.c.MountSnapshot(ctx, b.snapshot(id)))
}
