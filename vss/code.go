package vss

import "fmt"

// Code is a result: an HRESULT in the low 32 bits and, above it, the service that defines the number.
// VSS and VDS define the same numbers differently (0x80042400 is VSS_E_CLUSTER_ERROR and VDS_E_NOT_SUPPORTED), so that
// an HRESULT alone is ambiguous. A Code is an error, for use with errors.Is.
// Source: vsserror.h, vdserr.h.
type Code uint64

const vdsFacility Code = 1 << 32

// Results of VSS, with their names in the original headers.
const (
	OK                                    Code = 0x00000000 // S_OK
	False                                 Code = 0x00000001 // S_FALSE
	SuccessAsyncPending                   Code = 0x00042309 // VSS_S_ASYNC_PENDING
	SuccessAsyncFinished                  Code = 0x0004230a // VSS_S_ASYNC_FINISHED
	SuccessAsyncCancelled                 Code = 0x0004230b // VSS_S_ASYNC_CANCELLED
	SuccessSomeSnapshotsNotImported       Code = 0x00042321 // VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED
	ErrBadState                           Code = 0x80042301 // VSS_E_BAD_STATE
	ErrUnexpected                         Code = 0x80042302 // VSS_E_UNEXPECTED
	ErrProviderAlreadyRegistered          Code = 0x80042303 // VSS_E_PROVIDER_ALREADY_REGISTERED
	ErrProviderNotRegistered              Code = 0x80042304 // VSS_E_PROVIDER_NOT_REGISTERED
	ErrProviderVeto                       Code = 0x80042306 // VSS_E_PROVIDER_VETO
	ErrProviderInUse                      Code = 0x80042307 // VSS_E_PROVIDER_IN_USE
	ErrObjectNotFound                     Code = 0x80042308 // VSS_E_OBJECT_NOT_FOUND
	ErrVolumeNotSupported                 Code = 0x8004230c // VSS_E_VOLUME_NOT_SUPPORTED
	ErrObjectAlreadyExists                Code = 0x8004230d // VSS_E_OBJECT_ALREADY_EXISTS
	ErrVolumeNotSupportedByProvider       Code = 0x8004230e // VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER
	ErrUnexpectedProviderError            Code = 0x8004230f // VSS_E_UNEXPECTED_PROVIDER_ERROR
	ErrCorruptXMLDocument                 Code = 0x80042310 // VSS_E_CORRUPT_XML_DOCUMENT
	ErrInvalidXMLDocument                 Code = 0x80042311 // VSS_E_INVALID_XML_DOCUMENT
	ErrMaximumNumberOfVolumesReached      Code = 0x80042312 // VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED
	ErrFlushWritesTimeout                 Code = 0x80042313 // VSS_E_FLUSH_WRITES_TIMEOUT
	ErrHoldWritesTimeout                  Code = 0x80042314 // VSS_E_HOLD_WRITES_TIMEOUT
	ErrUnexpectedWriterError              Code = 0x80042315 // VSS_E_UNEXPECTED_WRITER_ERROR
	ErrSnapshotSetInProgress              Code = 0x80042316 // VSS_E_SNAPSHOT_SET_IN_PROGRESS
	ErrMaximumNumberOfSnapshotsReached    Code = 0x80042317 // VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED
	ErrWriterInfrastructure               Code = 0x80042318 // VSS_E_WRITER_INFRASTRUCTURE
	ErrWriterNotResponding                Code = 0x80042319 // VSS_E_WRITER_NOT_RESPONDING
	ErrWriterAlreadySubscribed            Code = 0x8004231a // VSS_E_WRITER_ALREADY_SUBSCRIBED
	ErrUnsupportedContext                 Code = 0x8004231b // VSS_E_UNSUPPORTED_CONTEXT
	ErrVolumeInUse                        Code = 0x8004231d // VSS_E_VOLUME_IN_USE
	ErrMaximumDiffAreaAssociationsReached Code = 0x8004231e // VSS_E_MAXIMUM_DIFFAREA_ASSOCIATIONS_REACHED
	ErrInsufficientStorage                Code = 0x8004231f // VSS_E_INSUFFICIENT_STORAGE
	ErrNoSnapshotsImported                Code = 0x80042320 // VSS_E_NO_SNAPSHOTS_IMPORTED
	ErrSomeSnapshotsNotImported           Code = 0x80042321 // VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED
	// VSS_E_MAXIMUM_NUMBER_OF_REMOTE_MACHINES_REACHED
	ErrMaximumNumberOfRemoteMachinesReached Code = 0x80042322
	ErrRemoteServerUnavailable              Code = 0x80042323 // VSS_E_REMOTE_SERVER_UNAVAILABLE
	ErrRemoteServerUnsupported              Code = 0x80042324 // VSS_E_REMOTE_SERVER_UNSUPPORTED
	ErrRevertInProgress                     Code = 0x80042325 // VSS_E_REVERT_IN_PROGRESS
	ErrRevertVolumeLost                     Code = 0x80042326 // VSS_E_REVERT_VOLUME_LOST
	ErrRebootRequired                       Code = 0x80042327 // VSS_E_REBOOT_REQUIRED
	ErrTransactionFreezeTimeout             Code = 0x80042328 // VSS_E_TRANSACTION_FREEZE_TIMEOUT
	ErrTransactionThawTimeout               Code = 0x80042329 // VSS_E_TRANSACTION_THAW_TIMEOUT
	ErrUnselectedVolume                     Code = 0x8004232a // VSS_E_UNSELECTED_VOLUME
	ErrSnapshotNotInSet                     Code = 0x8004232b // VSS_E_SNAPSHOT_NOT_IN_SET
	ErrNestedVolumeLimit                    Code = 0x8004232c // VSS_E_NESTED_VOLUME_LIMIT
	ErrVolumeNotLocal                       Code = 0x8004232d // VSS_E_VOLUME_NOT_LOCAL
	ErrClusterTimeout                       Code = 0x8004232e // VSS_E_CLUSTER_TIMEOUT
	ErrNotSupported                         Code = 0x8004232f // VSS_E_NOT_SUPPORTED
	ErrWriterErrorPartialFailure            Code = 0x80042336 // VSS_E_WRITERERROR_PARTIAL_FAILURE
	ErrWriterErrorInconsistentSnapshot      Code = 0x800423f0 // VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT
	ErrWriterErrorOutOfResources            Code = 0x800423f1 // VSS_E_WRITERERROR_OUTOFRESOURCES
	ErrWriterErrorTimeout                   Code = 0x800423f2 // VSS_E_WRITERERROR_TIMEOUT
	ErrWriterErrorRetryable                 Code = 0x800423f3 // VSS_E_WRITERERROR_RETRYABLE
	ErrWriterErrorNonRetryable              Code = 0x800423f4 // VSS_E_WRITERERROR_NONRETRYABLE
	ErrWriterErrorRecoveryFailed            Code = 0x800423f5 // VSS_E_WRITERERROR_RECOVERY_FAILED
	ErrBreakRevertIDFailed                  Code = 0x800423f6 // VSS_E_BREAK_REVERT_ID_FAILED
	ErrLegacyProvider                       Code = 0x800423f7 // VSS_E_LEGACY_PROVIDER
	ErrMissingDisk                          Code = 0x800423f8 // VSS_E_MISSING_DISK
	ErrMissingHiddenVolume                  Code = 0x800423f9 // VSS_E_MISSING_HIDDEN_VOLUME
	ErrMissingVolume                        Code = 0x800423fa // VSS_E_MISSING_VOLUME
	ErrAutorecoveryFailed                   Code = 0x800423fb // VSS_E_AUTORECOVERY_FAILED
	ErrDynamicDiskError                     Code = 0x800423fc // VSS_E_DYNAMIC_DISK_ERROR
	ErrNonTransportableBCD                  Code = 0x800423fd // VSS_E_NONTRANSPORTABLE_BCD
	ErrCannotRevertDiskID                   Code = 0x800423fe // VSS_E_CANNOT_REVERT_DISKID
	ErrResyncInProgress                     Code = 0x800423ff // VSS_E_RESYNC_IN_PROGRESS
	ErrClusterError                         Code = 0x80042400 // VSS_E_CLUSTER_ERROR
	ErrWriterStatusNotAvailable             Code = 0x80042409 // VSS_E_WRITER_STATUS_NOT_AVAILABLE
	ErrCriticalVolumeOnInvalidDisk          Code = 0x80042411 // VSS_E_CRITICAL_VOLUME_ON_INVALID_DISK
	ErrFSSTimeout                           Code = 0x80042417 // VSS_E_FSS_TIMEOUT
	ErrNotImpl                              Code = 0x80004001 // E_NOTIMPL
	ErrPointer                              Code = 0x80004003 // E_POINTER
	ErrFail                                 Code = 0x80004005 // E_FAIL
	ErrGenericUnexpected                    Code = 0x8000ffff // E_UNEXPECTED
	ErrAccessDenied                         Code = 0x80070005 // E_ACCESSDENIED
	ErrOutOfMemory                          Code = 0x8007000e // E_OUTOFMEMORY
	ErrInvalidArg                           Code = 0x80070057 // E_INVALIDARG
	ErrASRDiskAssignmentFailed              Code = 0x80042401 // VSS_E_ASRERROR_DISK_ASSIGNMENT_FAILED
	ErrASRDiskRecreationFailed              Code = 0x80042402 // VSS_E_ASRERROR_DISK_RECREATION_FAILED
	ErrASRNoArcpath                         Code = 0x80042403 // VSS_E_ASRERROR_NO_ARCPATH
	ErrASRMissingDyndisk                    Code = 0x80042404 // VSS_E_ASRERROR_MISSING_DYNDISK
	ErrASRSharedCridisk                     Code = 0x80042405 // VSS_E_ASRERROR_SHARED_CRIDISK
	ErrASRDatadiskRdisk0                    Code = 0x80042406 // VSS_E_ASRERROR_DATADISK_RDISK0
	ErrASRRdisk0Toosmall                    Code = 0x80042407 // VSS_E_ASRERROR_RDISK0_TOOSMALL
	ErrASRCriticalDisksTooSmall             Code = 0x80042408 // VSS_E_ASRERROR_CRITICAL_DISKS_TOO_SMALL
	ErrASRDynamicVHDNotSupported            Code = 0x8004240a // VSS_E_ASRERROR_DYNAMIC_VHD_NOT_SUPPORTED
	// VSS_E_ASRERROR_RDISK_FOR_SYSTEM_DISK_NOT_FOUND
	ErrASRRdiskForSystemDiskNotFound Code = 0x80042412
	ErrASRNoPhysicalDiskAvailable    Code = 0x80042413 // VSS_E_ASRERROR_NO_PHYSICAL_DISK_AVAILABLE
	// VSS_E_ASRERROR_FIXED_PHYSICAL_DISK_AVAILABLE_AFTER_DISK_EXCLUSION
	ErrASRFixedPhysicalDiskAvailableAfterDiskExclusion Code = 0x80042414
	// VSS_E_ASRERROR_CRITICAL_DISK_CANNOT_BE_EXCLUDED
	ErrASRCriticalDiskCannotBeExcluded Code = 0x80042415
	ErrASRSystemPartitionHidden        Code = 0x80042416 // VSS_E_ASRERROR_SYSTEM_PARTITION_HIDDEN
)

// Results of the disk manager (VDS).
const (
	VDSErrNotSupported                Code = vdsFacility | 0x80042400 // VDS_E_NOT_SUPPORTED
	VDSErrAnotherCallInProgress       Code = vdsFacility | 0x80042404 // VDS_E_ANOTHER_CALL_IN_PROGRESS
	VDSErrObjectNotFound              Code = vdsFacility | 0x80042405 // VDS_E_OBJECT_NOT_FOUND
	VDSErrObjectDeleted               Code = vdsFacility | 0x8004240b // VDS_E_OBJECT_DELETED
	VDSErrNotEnoughSpace              Code = vdsFacility | 0x8004240f // VDS_E_NOT_ENOUGH_SPACE
	VDSErrNotEnoughDrive              Code = vdsFacility | 0x80042410 // VDS_E_NOT_ENOUGH_DRIVE
	VDSErrDeviceInUse                 Code = vdsFacility | 0x80042413 // VDS_E_DEVICE_IN_USE
	VDSErrInvalidOperation            Code = vdsFacility | 0x80042415 // VDS_E_INVALID_OPERATION
	VDSErrProviderCacheCorrupt        Code = vdsFacility | 0x8004241f // VDS_E_PROVIDER_CACHE_CORRUPT
	VDSErrObjectStatusFailed          Code = vdsFacility | 0x80042431 // VDS_E_OBJECT_STATUS_FAILED
	VDSErrVolumeTemporarilyDismounted Code = vdsFacility | 0x8004245c // VDS_E_VOLUME_TEMPORARILY_DISMOUNTED
	VDSErrVolumePermanentlyDismounted Code = vdsFacility | 0x8004245d // VDS_E_VOLUME_PERMANENTLY_DISMOUNTED
	VDSErrVolumeHasPath               Code = vdsFacility | 0x8004245e // VDS_E_VOLUME_HAS_PATH
	VDSErrRevertOnCloseMismatched     Code = vdsFacility | 0x80042462 // VDS_E_REVERT_ON_CLOSE_MISMATCHED
)

type codeText struct{ name, text string }

var codeTexts = map[Code]codeText{
	OK:                              {"S_OK", "done"},
	False:                           {"S_FALSE", "no more results"},
	SuccessAsyncPending:             {"VSS_S_ASYNC_PENDING", "the operation is in progress"},
	SuccessAsyncFinished:            {"VSS_S_ASYNC_FINISHED", "the operation succeeded"},
	SuccessAsyncCancelled:           {"VSS_S_ASYNC_CANCELLED", "the operation was cancelled"},
	SuccessSomeSnapshotsNotImported: {"VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED", "a part of the set was imported"},
	ErrBadState:                     {"VSS_E_BAD_STATE", "the call does not fit the state of the session"},
	ErrUnexpected:                   {"VSS_E_UNEXPECTED", "an internal failure; the event log has the details"},
	ErrProviderAlreadyRegistered: {
		"VSS_E_PROVIDER_ALREADY_REGISTERED",
		"a provider with this id is registered already",
	},
	ErrProviderNotRegistered: {
		"VSS_E_PROVIDER_NOT_REGISTERED",
		"no provider with this id is registered",
	},
	ErrProviderVeto: {
		"VSS_E_PROVIDER_VETO",
		"the provider refused the operation; see the event log for the reason",
	},
	ErrProviderInUse: {
		"VSS_E_PROVIDER_IN_USE",
		"the provider is in use and cannot be unregistered",
	},
	ErrObjectNotFound: {"VSS_E_OBJECT_NOT_FOUND", "no such object"},
	ErrVolumeNotSupported: {
		"VSS_E_VOLUME_NOT_SUPPORTED",
		"no provider supports this volume with these attributes",
	},
	ErrObjectAlreadyExists: {"VSS_E_OBJECT_ALREADY_EXISTS", "the object already exists"},
	ErrVolumeNotSupportedByProvider: {
		"VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER",
		"the provider does not support this volume",
	},
	ErrUnexpectedProviderError: {
		"VSS_E_UNEXPECTED_PROVIDER_ERROR",
		"the provider returned an unexpected error",
	},
	ErrCorruptXMLDocument: {"VSS_E_CORRUPT_XML_DOCUMENT", "the document is damaged"},
	ErrInvalidXMLDocument: {
		"VSS_E_INVALID_XML_DOCUMENT",
		"the document is malformed or does not match its schema",
	},
	ErrMaximumNumberOfVolumesReached: {
		"VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED",
		"a shadow copy set holds at most 64 volumes",
	},
	ErrFlushWritesTimeout: {
		"VSS_E_FLUSH_WRITES_TIMEOUT",
		"a volume did not flush within the hold limit",
	},
	ErrHoldWritesTimeout: {
		"VSS_E_HOLD_WRITES_TIMEOUT",
		"writes could not be held until all providers had committed",
	},
	ErrUnexpectedWriterError: {
		"VSS_E_UNEXPECTED_WRITER_ERROR",
		"events could not be delivered to the writers",
	},
	ErrSnapshotSetInProgress: {
		"VSS_E_SNAPSHOT_SET_IN_PROGRESS",
		"another shadow copy set is being created",
	},
	ErrMaximumNumberOfSnapshotsReached: {
		"VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED",
		"the volume has the maximum number of copies of its provider",
	},
	ErrWriterInfrastructure:    {"VSS_E_WRITER_INFRASTRUCTURE", "no writer can be reached"},
	ErrWriterNotResponding:     {"VSS_E_WRITER_NOT_RESPONDING", "the writer did not respond"},
	ErrWriterAlreadySubscribed: {"VSS_E_WRITER_ALREADY_SUBSCRIBED", "the writer has subscribed already"},
	ErrUnsupportedContext: {
		"VSS_E_UNSUPPORTED_CONTEXT",
		"the provider does not support this context",
	},
	ErrVolumeInUse: {"VSS_E_VOLUME_IN_USE", "the volume is in use"},
	ErrMaximumDiffAreaAssociationsReached: {
		"VSS_E_MAXIMUM_DIFFAREA_ASSOCIATIONS_REACHED",
		"the volume has the maximum of shadow storage associations",
	},
	ErrInsufficientStorage: {"VSS_E_INSUFFICIENT_STORAGE", "there is not enough space for the copy"},
	ErrNoSnapshotsImported: {"VSS_E_NO_SNAPSHOTS_IMPORTED", "no copy of the set was imported"},
	ErrSomeSnapshotsNotImported: {
		"VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED",
		"only a part of the set was imported",
	},
	ErrMaximumNumberOfRemoteMachinesReached: {
		"VSS_E_MAXIMUM_NUMBER_OF_REMOTE_MACHINES_REACHED",
		"too many remote hosts",
	},
	ErrRemoteServerUnavailable: {"VSS_E_REMOTE_SERVER_UNAVAILABLE", "the remote host cannot be reached"},
	ErrRemoteServerUnsupported: {
		"VSS_E_REMOTE_SERVER_UNSUPPORTED",
		"the remote host's service is too old",
	},
	ErrRevertInProgress: {"VSS_E_REVERT_IN_PROGRESS", "the volume is already being reverted"},
	ErrRevertVolumeLost: {
		"VSS_E_REVERT_VOLUME_LOST",
		"the volume was removed while it was reverted",
	},
	ErrRebootRequired: {"VSS_E_REBOOT_REQUIRED", "the host must be restarted first"},
	ErrTransactionFreezeTimeout: {
		"VSS_E_TRANSACTION_FREEZE_TIMEOUT",
		"a transaction manager did not freeze in time",
	},
	ErrTransactionThawTimeout: {
		"VSS_E_TRANSACTION_THAW_TIMEOUT",
		"a transaction manager was frozen for too long",
	},
	ErrUnselectedVolume: {
		"VSS_E_UNSELECTED_VOLUME",
		"the resync would overwrite a volume that was not selected",
	},
	ErrSnapshotNotInSet: {"VSS_E_SNAPSHOT_NOT_IN_SET", "the copy is not in the loaded document"},
	ErrNestedVolumeLimit: {
		"VSS_E_NESTED_VOLUME_LIMIT",
		"a volume of the set holds another, or something that the creation writes to",
	},
	ErrVolumeNotLocal: {"VSS_E_VOLUME_NOT_LOCAL", "the volume is not on this host"},
	ErrClusterTimeout: {"VSS_E_CLUSTER_TIMEOUT", "a clustered volume was not prepared in time"},
	ErrNotSupported:   {"VSS_E_NOT_SUPPORTED", "the operation is not supported"},
	ErrWriterErrorPartialFailure: {
		"VSS_E_WRITERERROR_PARTIAL_FAILURE",
		"the writer failed for some of its components",
	},
	ErrWriterErrorInconsistentSnapshot: {
		"VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT",
		"the set lacks a volume that the writer needs",
	},
	ErrWriterErrorOutOfResources: {
		"VSS_E_WRITERERROR_OUTOFRESOURCES",
		"the writer lacks a resource; retry after ten minutes",
	},
	ErrWriterErrorTimeout: {
		"VSS_E_WRITERERROR_TIMEOUT",
		"the writer was frozen for longer than its limit",
	},
	ErrWriterErrorRetryable: {
		"VSS_E_WRITERERROR_RETRYABLE",
		"the writer failed for a temporary reason",
	},
	ErrWriterErrorNonRetryable: {
		"VSS_E_WRITERERROR_NONRETRYABLE",
		"the writer failed for a permanent reason",
	},
	ErrWriterErrorRecoveryFailed: {
		"VSS_E_WRITERERROR_RECOVERY_FAILED",
		"the writer could not recover its data in the copy",
	},
	ErrBreakRevertIDFailed: {
		"VSS_E_BREAK_REVERT_ID_FAILED",
		"disk or partition identities could not be restored",
	},
	ErrLegacyProvider: {"VSS_E_LEGACY_PROVIDER", "the hardware provider is too old for this"},
	ErrMissingDisk:    {"VSS_E_MISSING_DISK", "an expected disk did not arrive"},
	ErrMissingHiddenVolume: {
		"VSS_E_MISSING_HIDDEN_VOLUME",
		"an expected hidden volume did not arrive",
	},
	ErrMissingVolume: {"VSS_E_MISSING_VOLUME", "an expected volume did not arrive"},
	ErrAutorecoveryFailed: {
		"VSS_E_AUTORECOVERY_FAILED",
		"the data in the copy could not be recovered",
	},
	ErrDynamicDiskError: {"VSS_E_DYNAMIC_DISK_ERROR", "a dynamic disk could not be handled"},
	ErrNonTransportableBCD: {
		"VSS_E_NONTRANSPORTABLE_BCD",
		"the document describes a set that is not transportable",
	},
	ErrCannotRevertDiskID: {"VSS_E_CANNOT_REVERT_DISKID", "the disk's identity could not be set"},
	ErrResyncInProgress:   {"VSS_E_RESYNC_IN_PROGRESS", "another resync is in progress"},
	ErrClusterError: {
		"VSS_E_CLUSTER_ERROR",
		"the cluster's disks could not be listed or put into maintenance",
	},
	ErrWriterStatusNotAvailable: {
		"VSS_E_WRITER_STATUS_NOT_AVAILABLE",
		"the writer has no room for another session",
	},
	ErrCriticalVolumeOnInvalidDisk: {
		"VSS_E_CRITICAL_VOLUME_ON_INVALID_DISK",
		"a critical volume is on a disk that disaster recovery cannot handle",
	},
	ErrFSSTimeout:        {"VSS_E_FSS_TIMEOUT", "the copy of a file share was not prepared in time"},
	ErrNotImpl:           {"E_NOTIMPL", "the operation isn't implemented"},
	ErrPointer:           {"E_POINTER", "a required argument is missing"},
	ErrFail:              {"E_FAIL", "the operation failed"},
	ErrGenericUnexpected: {"E_UNEXPECTED", "an internal failure (former name of VSS_E_UNEXPECTED)"},
	ErrAccessDenied:      {"E_ACCESSDENIED", "access denied"},
	ErrOutOfMemory:       {"E_OUTOFMEMORY", "out of memory or another resource"},
	ErrInvalidArg:        {"E_INVALIDARG", "invalid argument"},
	ErrASRDiskAssignmentFailed: {
		"VSS_E_ASRERROR_DISK_ASSIGNMENT_FAILED",
		"disaster recovery: disks could not be assigned",
	},
	ErrASRDiskRecreationFailed: {
		"VSS_E_ASRERROR_DISK_RECREATION_FAILED",
		"disaster recovery: a disk could not be created again",
	},
	ErrASRNoArcpath: {
		"VSS_E_ASRERROR_NO_ARCPATH",
		"disaster recovery: a disk has no boot path",
	},
	ErrASRMissingDyndisk: {
		"VSS_E_ASRERROR_MISSING_DYNDISK",
		"disaster recovery: a dynamic disk is missing",
	},
	ErrASRSharedCridisk: {
		"VSS_E_ASRERROR_SHARED_CRIDISK",
		"disaster recovery: a critical disk is shared",
	},
	ErrASRDatadiskRdisk0: {
		"VSS_E_ASRERROR_DATADISK_RDISK0",
		"disaster recovery: a data disk is where the boot disk belongs",
	},
	ErrASRRdisk0Toosmall: {
		"VSS_E_ASRERROR_RDISK0_TOOSMALL",
		"disaster recovery: the boot disk is too small",
	},
	ErrASRCriticalDisksTooSmall: {
		"VSS_E_ASRERROR_CRITICAL_DISKS_TOO_SMALL",
		"disaster recovery: the critical disks are too small",
	},
	ErrASRDynamicVHDNotSupported: {
		"VSS_E_ASRERROR_DYNAMIC_VHD_NOT_SUPPORTED",
		"disaster recovery: growing virtual disks are not supported",
	},
	ErrASRRdiskForSystemDiskNotFound: {
		"VSS_E_ASRERROR_RDISK_FOR_SYSTEM_DISK_NOT_FOUND",
		"disaster recovery: no disk for the system was found",
	},
	ErrASRNoPhysicalDiskAvailable: {
		"VSS_E_ASRERROR_NO_PHYSICAL_DISK_AVAILABLE",
		"disaster recovery: no disk is available",
	},
	ErrASRFixedPhysicalDiskAvailableAfterDiskExclusion: {
		"VSS_E_ASRERROR_FIXED_PHYSICAL_DISK_AVAILABLE_AFTER_DISK_EXCLUSION",
		"disaster recovery: no fixed disk is left after the exclusions",
	},
	ErrASRCriticalDiskCannotBeExcluded: {
		"VSS_E_ASRERROR_CRITICAL_DISK_CANNOT_BE_EXCLUDED",
		"disaster recovery: a critical disk cannot be excluded",
	},
	ErrASRSystemPartitionHidden: {
		"VSS_E_ASRERROR_SYSTEM_PARTITION_HIDDEN",
		"disaster recovery: the system partition is hidden",
	},
	VDSErrNotSupported: {
		"VDS_E_NOT_SUPPORTED",
		"the operation is not supported by this object",
	},
	VDSErrAnotherCallInProgress: {
		"VDS_E_ANOTHER_CALL_IN_PROGRESS",
		"another operation on the object is in progress",
	},
	VDSErrObjectNotFound: {"VDS_E_OBJECT_NOT_FOUND", "no such object"},
	VDSErrObjectDeleted:  {"VDS_E_OBJECT_DELETED", "the object has been deleted"},
	VDSErrNotEnoughSpace: {"VDS_E_NOT_ENOUGH_SPACE", "there is not enough space"},
	VDSErrNotEnoughDrive: {"VDS_E_NOT_ENOUGH_DRIVE", "there are not enough drives"},
	VDSErrDeviceInUse:    {"VDS_E_DEVICE_IN_USE", "the device is in use"},
	VDSErrInvalidOperation: {
		"VDS_E_INVALID_OPERATION",
		"the operation is not valid for this object",
	},
	VDSErrProviderCacheCorrupt: {
		"VDS_E_PROVIDER_CACHE_CORRUPT",
		"the cached information about the object is out of date",
	},
	VDSErrObjectStatusFailed: {
		"VDS_E_OBJECT_STATUS_FAILED",
		"the object is in a failed state",
	},
	VDSErrVolumeTemporarilyDismounted: {
		"VDS_E_VOLUME_TEMPORARILY_DISMOUNTED",
		"the volume is temporarily dismounted",
	},
	VDSErrVolumePermanentlyDismounted: {
		"VDS_E_VOLUME_PERMANENTLY_DISMOUNTED",
		"the volume is permanently dismounted",
	},
	VDSErrVolumeHasPath: {"VDS_E_VOLUME_HAS_PATH", "the volume has an access path"},
	VDSErrRevertOnCloseMismatched: {
		"VDS_E_REVERT_ON_CLOSE_MISMATCHED",
		"flags that last until close must be cleared the same way",
	},
}

// Codes returns all codes that have a name, in undefined order.
func Codes() []Code {
	out := make([]Code, 0, len(codeTexts))
	for c := range codeTexts {
		out = append(out, c)
	}
	return out
}

// CodeByName returns the code with an original name, such as VSS_E_BAD_STATE.
func CodeByName(name string) (Code, bool) {
	for c, t := range codeTexts {
		if t.name == name {
			return c, true
		}
	}
	return 0, false
}

// MakeCode returns the code of an HRESULT and a facility, as transmitted. Facility is "" or "vds".
func MakeCode(hresult uint32, facility string) Code {
	if facility == "vds" {
		return Code(hresult) | vdsFacility
	}
	return Code(hresult)
}

// HRESULT returns the number in the original headers.
func (c Code) HRESULT() uint32 { return uint32(c) }

// Facility returns "vds" for a result of VDS, otherwise "".
func (c Code) Facility() string {
	if c&vdsFacility != 0 {
		return "vds"
	}
	return ""
}

// Failed reports whether the code is a failure. There are success codes other than S_OK, such as
// VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED.
func (c Code) Failed() bool { return c.HRESULT()&0x80000000 != 0 }

// Name returns the code's name in the original headers, or its number in hexadecimal if it has none here.
func (c Code) Name() string {
	if t, ok := codeTexts[c]; ok {
		return t.name
	}
	return fmt.Sprintf("0x%08x", c.HRESULT())
}

// Text returns a short description of the code.
func (c Code) Text() string {
	if t, ok := codeTexts[c]; ok {
		return t.text
	}
	return "unknown result"
}

// Error implements error, for errors.Is and for use as the cause of another error.
func (c Code) Error() string { return fmt.Sprintf("%s (0x%08x): %s", c.Name(), c.HRESULT(), c.Text()) }
