package service

import (
	"context"
	"errors"
	"os/user"
	"strconv"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/config"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// right is what a caller requires to use a method.
type right int

const (
	requesters right = iota // root, a member of the group, or an account configured as a requester
	rootOnly
)

// rights has the required right of each method. Methods that are missing are denied.
var rights = map[string]right{
	vssv1.Coordinator_OpenSession_FullMethodName:            requesters,
	vssv1.Coordinator_InitializeForBackup_FullMethodName:    requesters,
	vssv1.Coordinator_SetContext_FullMethodName:             requesters,
	vssv1.Coordinator_SetBackupState_FullMethodName:         requesters,
	vssv1.Coordinator_EnableWriterClasses_FullMethodName:    requesters,
	vssv1.Coordinator_DisableWriterClasses_FullMethodName:   requesters,
	vssv1.Coordinator_DisableWriterInstances_FullMethodName: requesters,
	vssv1.Coordinator_GatherWriterMetadata_FullMethodName:   requesters,
	vssv1.Coordinator_GetWriterMetadata_FullMethodName:      requesters,
	vssv1.Coordinator_GatherWriterStatus_FullMethodName:     requesters,
	vssv1.Coordinator_GetWriterStatus_FullMethodName:        requesters,
	vssv1.Coordinator_AddComponent_FullMethodName:           requesters,
	vssv1.Coordinator_SetBackupSucceeded_FullMethodName:     requesters,
	vssv1.Coordinator_StartSnapshotSet_FullMethodName:       requesters,
	vssv1.Coordinator_AddToSnapshotSet_FullMethodName:       requesters,
	vssv1.Coordinator_IsVolumeSupported_FullMethodName:      requesters,
	vssv1.Coordinator_IsVolumeSnapshotted_FullMethodName:    requesters,
	vssv1.Coordinator_PrepareForBackup_FullMethodName:       requesters,
	vssv1.Coordinator_DoSnapshotSet_FullMethodName:          requesters,
	vssv1.Coordinator_BackupComplete_FullMethodName:         requesters,
	vssv1.Coordinator_AbortBackup_FullMethodName:            requesters,
	vssv1.Coordinator_SaveAsXML_FullMethodName:              requesters,
	vssv1.Coordinator_ImportSnapshots_FullMethodName:        requesters,
	vssv1.Coordinator_GetSnapshotProperties_FullMethodName:  requesters,
	vssv1.Coordinator_Query_FullMethodName:                  requesters,
	vssv1.Coordinator_DeleteSnapshots_FullMethodName:        requesters,
	vssv1.Coordinator_BreakSnapshotSet_FullMethodName:       rootOnly,
	vssv1.Coordinator_BreakSnapshotSetEx_FullMethodName:     rootOnly,
	vssv1.Coordinator_GetBreakResult_FullMethodName:         rootOnly,
	// below the expose roots; elsewhere the coordinator requires root
	vssv1.Coordinator_ExposeSnapshot_FullMethodName:                requesters,
	vssv1.Coordinator_UnexposeSnapshot_FullMethodName:              requesters,
	vssv1.Coordinator_MountSnapshot_FullMethodName:                 requesters,
	vssv1.Coordinator_SetBackupOptions_FullMethodName:              requesters,
	vssv1.Coordinator_SetPreviousBackupStamp_FullMethodName:        requesters,
	vssv1.Coordinator_GetWriterComponents_FullMethodName:           requesters,
	vssv1.Coordinator_GetRootAndLogicalPrefixPaths_FullMethodName:  requesters,
	vssv1.Coordinator_GetSessionId_FullMethodName:                  requesters,
	vssv1.Coordinator_InitializeForRestore_FullMethodName:          requesters,
	vssv1.Coordinator_SetRestoreState_FullMethodName:               requesters,
	vssv1.Coordinator_SetSelectedForRestoreEx_FullMethodName:       requesters,
	vssv1.Coordinator_AddRestoreSubcomponent_FullMethodName:        requesters,
	vssv1.Coordinator_SetRestoreOptions_FullMethodName:             requesters,
	vssv1.Coordinator_SetAdditionalRestores_FullMethodName:         requesters,
	vssv1.Coordinator_AddNewTarget_FullMethodName:                  requesters,
	vssv1.Coordinator_SetAuthoritativeRestore_FullMethodName:       requesters,
	vssv1.Coordinator_SetRollForward_FullMethodName:                requesters,
	vssv1.Coordinator_SetRestoreName_FullMethodName:                requesters,
	vssv1.Coordinator_PreRestore_FullMethodName:                    rootOnly, // writers stop and start services for it
	vssv1.Coordinator_AddAlternativeLocationMapping_FullMethodName: requesters,
	vssv1.Coordinator_SetRangesFilePath_FullMethodName:             requesters,
	vssv1.Coordinator_SetFileRestoreStatus_FullMethodName:          requesters,
	vssv1.Coordinator_PostRestore_FullMethodName:                   rootOnly,
	vssv1.Coordinator_AsyncWait_FullMethodName:                     requesters,
	vssv1.Coordinator_AsyncQueryStatus_FullMethodName:              requesters,
	vssv1.Coordinator_AsyncCancel_FullMethodName:                   requesters,
	vssv1.Coordinator_GetSnapshotSet_FullMethodName:                requesters,
	vssv1.Coordinator_ListVolumes_FullMethodName:                   requesters,
	vssv1.Coordinator_Events_FullMethodName:                        requesters,
	vssv1.Coordinator_Check_FullMethodName:                         rootOnly,

	vssv1.Disks_ListArrays_FullMethodName:     rootOnly,
	vssv1.Disks_ListLuns_FullMethodName:       rootOnly,
	vssv1.Disks_ShowLun_FullMethodName:        rootOnly,
	vssv1.Disks_CreateLun_FullMethodName:      rootOnly,
	vssv1.Disks_FormatLun_FullMethodName:      rootOnly,
	vssv1.Disks_MaskLun_FullMethodName:        rootOnly,
	vssv1.Disks_UnmaskLun_FullMethodName:      rootOnly,
	vssv1.Disks_SetLunReadOnly_FullMethodName: rootOnly,
	vssv1.Disks_MountLun_FullMethodName:       rootOnly,
	vssv1.Disks_UnmountLun_FullMethodName:     rootOnly,
	vssv1.Disks_ChangeLunFlags_FullMethodName: rootOnly,
	vssv1.Disks_RenameLun_FullMethodName:      rootOnly,
	vssv1.Disks_ExtendLun_FullMethodName:      rootOnly,
	vssv1.Disks_DeleteLun_FullMethodName:      rootOnly,
	vssv1.Disks_RescanLuns_FullMethodName:     rootOnly,
}

// gate checks each call against rights.
type gate struct{ cfg *config.Config }

func (g gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := g.check(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (g gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := g.check(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(srv, ss)
}

func (g gate) check(ctx context.Context, method string) error {
	const op = "CheckAccess"
	p, ok := wire.Peer(ctx)
	if !ok {
		return vss.E(op, vss.ErrAccessDenied, errors.New("the caller can't be identified"))
	}
	need, known := rights[method]
	switch {
	case known && g.may(p, need):
		return nil
	case known && need == rootOnly:
		return vss.E(op, vss.ErrAccessDenied, errors.New("only root may call this")).Advise("run this as root")
	}
	return vss.E(op, vss.ErrAccessDenied, errors.New("the caller may not request shadow copies")).
		Advise("run this as root or as a member of group " + g.cfg.Service.Group)
}

// may reports whether the caller has a right. For accounts in the configuration, including root, the configuration
// decides.
func (g gate) may(p wire.PeerInfo, need right) bool {
	name := strconv.Itoa(int(p.UID))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	access := g.cfg.AccessOf(name)
	if !access.Requester() {
		if _, named := g.cfg.Accounts[name]; named {
			return false
		}
	}
	if need == rootOnly {
		return p.UID == 0
	}
	return access.Requester() || g.inGroup(p)
}

func (g gate) inGroup(p wire.PeerInfo) bool {
	group, err := user.LookupGroup(g.cfg.Service.Group)
	if err != nil {
		return false
	}
	gid, err := strconv.ParseUint(group.Gid, 10, 32)
	return err == nil && p.In(uint32(gid))
}
