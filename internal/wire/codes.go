package wire

import (
	"google.golang.org/grpc/codes"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// grpcCodes maps each result to the closest gRPC code, for clients and logs that don't know the detail. Success codes
// that are sent as errors are Unknown, since a status with code OK wouldn't be an error.
var grpcCodes = map[codes.Code][]vss.Code{
	codes.Canceled: {vss.SuccessAsyncCancelled},
	codes.Unknown: {
		vss.OK, vss.False, vss.SuccessAsyncPending, vss.SuccessAsyncFinished, vss.SuccessSomeSnapshotsNotImported,
	},
	codes.InvalidArgument: {
		vss.ErrInvalidArg, vss.ErrPointer, vss.ErrCorruptXMLDocument, vss.ErrInvalidXMLDocument,
		vss.ErrNonTransportableBCD,
	},
	codes.NotFound: {
		vss.ErrObjectNotFound, vss.ErrProviderNotRegistered, vss.ErrSnapshotNotInSet, vss.ErrMissingDisk,
		vss.ErrMissingHiddenVolume,
		vss.ErrMissingVolume, vss.VDSErrObjectNotFound, vss.VDSErrObjectDeleted,
	},
	codes.AlreadyExists: {
		vss.ErrObjectAlreadyExists,
		vss.ErrProviderAlreadyRegistered,
		vss.ErrWriterAlreadySubscribed,
	},
	codes.PermissionDenied: {vss.ErrAccessDenied},
	codes.ResourceExhausted: {
		vss.ErrOutOfMemory, vss.ErrInsufficientStorage, vss.ErrMaximumNumberOfVolumesReached,
		vss.ErrMaximumNumberOfSnapshotsReached,
		vss.ErrMaximumDiffAreaAssociationsReached, vss.ErrMaximumNumberOfRemoteMachinesReached,
		vss.ErrWriterErrorOutOfResources,
		vss.ErrWriterStatusNotAvailable, vss.VDSErrNotEnoughSpace, vss.VDSErrNotEnoughDrive,
	},
	codes.FailedPrecondition: {
		vss.ErrBadState, vss.ErrProviderVeto, vss.ErrProviderInUse, vss.ErrVolumeNotSupported,
		vss.ErrVolumeNotSupportedByProvider,
		vss.ErrUnsupportedContext, vss.ErrVolumeInUse, vss.ErrRebootRequired, vss.ErrUnselectedVolume,
		vss.ErrNestedVolumeLimit,
		vss.ErrVolumeNotLocal, vss.ErrRevertVolumeLost, vss.ErrBreakRevertIDFailed, vss.ErrCannotRevertDiskID,
		vss.ErrDynamicDiskError,
		vss.ErrCriticalVolumeOnInvalidDisk, vss.ErrWriterErrorInconsistentSnapshot, vss.ErrWriterErrorNonRetryable,
		vss.ErrASRDiskAssignmentFailed, vss.ErrASRDiskRecreationFailed, vss.ErrASRNoArcpath, vss.ErrASRMissingDyndisk,
		vss.ErrASRSharedCridisk, vss.ErrASRDatadiskRdisk0, vss.ErrASRRdisk0Toosmall, vss.ErrASRCriticalDisksTooSmall,
		vss.ErrASRDynamicVHDNotSupported, vss.ErrASRRdiskForSystemDiskNotFound, vss.ErrASRNoPhysicalDiskAvailable,
		vss.ErrASRFixedPhysicalDiskAvailableAfterDiskExclusion, vss.ErrASRCriticalDiskCannotBeExcluded,
		vss.ErrASRSystemPartitionHidden,
		vss.VDSErrDeviceInUse, vss.VDSErrInvalidOperation, vss.VDSErrVolumeTemporarilyDismounted,
		vss.VDSErrVolumePermanentlyDismounted,
		vss.VDSErrVolumeHasPath, vss.VDSErrRevertOnCloseMismatched, vss.VDSErrProviderCacheCorrupt,
		vss.VDSErrObjectStatusFailed,
	},
	codes.Aborted: { // worth retrying later
		vss.ErrSnapshotSetInProgress, vss.ErrRevertInProgress, vss.ErrResyncInProgress, vss.ErrWriterErrorRetryable,
		vss.VDSErrAnotherCallInProgress,
	},
	codes.DeadlineExceeded: {
		vss.ErrFlushWritesTimeout, vss.ErrHoldWritesTimeout, vss.ErrTransactionFreezeTimeout,
		vss.ErrTransactionThawTimeout,
		vss.ErrClusterTimeout, vss.ErrFSSTimeout, vss.ErrWriterErrorTimeout,
	},
	codes.Unimplemented: {
		vss.ErrNotImpl,
		vss.ErrNotSupported,
		vss.ErrLegacyProvider,
		vss.ErrRemoteServerUnsupported,
		vss.VDSErrNotSupported,
	},
	codes.Unavailable: {vss.ErrRemoteServerUnavailable, vss.ErrWriterNotResponding, vss.ErrWriterInfrastructure},
	codes.Internal: {
		vss.ErrUnexpected, vss.ErrGenericUnexpected, vss.ErrFail, vss.ErrUnexpectedProviderError,
		vss.ErrUnexpectedWriterError,
		vss.ErrAutorecoveryFailed, vss.ErrClusterError, vss.ErrNoSnapshotsImported, vss.ErrSomeSnapshotsNotImported,
		vss.ErrWriterErrorPartialFailure, vss.ErrWriterErrorRecoveryFailed,
	},
}

var byCode = func() map[vss.Code]codes.Code {
	m := map[vss.Code]codes.Code{}
	for g, list := range grpcCodes {
		for _, c := range list {
			m[c] = g
		}
	}
	return m
}()

// grpcCode returns the gRPC code of a result; Unknown for a number without a name.
func grpcCode(c vss.Code) codes.Code {
	if g, ok := byCode[c]; ok {
		return g
	}
	return codes.Unknown
}
