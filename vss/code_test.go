package vss

import (
	"strconv"
	"strings"
	"testing"
)

// The codes: name here, name in the original headers, number (with a 1 above the HRESULT's 32 bits where it is VDS's).
const codeNumbers = `
OK S_OK 0x00000000
False S_FALSE 0x00000001
SuccessAsyncPending VSS_S_ASYNC_PENDING 0x00042309
SuccessAsyncFinished VSS_S_ASYNC_FINISHED 0x0004230a
SuccessAsyncCancelled VSS_S_ASYNC_CANCELLED 0x0004230b
SuccessSomeSnapshotsNotImported VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED 0x00042321
ErrBadState VSS_E_BAD_STATE 0x80042301
ErrUnexpected VSS_E_UNEXPECTED 0x80042302
ErrProviderAlreadyRegistered VSS_E_PROVIDER_ALREADY_REGISTERED 0x80042303
ErrProviderNotRegistered VSS_E_PROVIDER_NOT_REGISTERED 0x80042304
ErrProviderVeto VSS_E_PROVIDER_VETO 0x80042306
ErrProviderInUse VSS_E_PROVIDER_IN_USE 0x80042307
ErrObjectNotFound VSS_E_OBJECT_NOT_FOUND 0x80042308
ErrVolumeNotSupported VSS_E_VOLUME_NOT_SUPPORTED 0x8004230c
ErrObjectAlreadyExists VSS_E_OBJECT_ALREADY_EXISTS 0x8004230d
ErrVolumeNotSupportedByProvider VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER 0x8004230e
ErrUnexpectedProviderError VSS_E_UNEXPECTED_PROVIDER_ERROR 0x8004230f
ErrCorruptXMLDocument VSS_E_CORRUPT_XML_DOCUMENT 0x80042310
ErrInvalidXMLDocument VSS_E_INVALID_XML_DOCUMENT 0x80042311
ErrMaximumNumberOfVolumesReached VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED 0x80042312
ErrFlushWritesTimeout VSS_E_FLUSH_WRITES_TIMEOUT 0x80042313
ErrHoldWritesTimeout VSS_E_HOLD_WRITES_TIMEOUT 0x80042314
ErrUnexpectedWriterError VSS_E_UNEXPECTED_WRITER_ERROR 0x80042315
ErrSnapshotSetInProgress VSS_E_SNAPSHOT_SET_IN_PROGRESS 0x80042316
ErrMaximumNumberOfSnapshotsReached VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED 0x80042317
ErrWriterInfrastructure VSS_E_WRITER_INFRASTRUCTURE 0x80042318
ErrWriterNotResponding VSS_E_WRITER_NOT_RESPONDING 0x80042319
ErrWriterAlreadySubscribed VSS_E_WRITER_ALREADY_SUBSCRIBED 0x8004231a
ErrUnsupportedContext VSS_E_UNSUPPORTED_CONTEXT 0x8004231b
ErrVolumeInUse VSS_E_VOLUME_IN_USE 0x8004231d
ErrMaximumDiffAreaAssociationsReached VSS_E_MAXIMUM_DIFFAREA_ASSOCIATIONS_REACHED 0x8004231e
ErrInsufficientStorage VSS_E_INSUFFICIENT_STORAGE 0x8004231f
ErrNoSnapshotsImported VSS_E_NO_SNAPSHOTS_IMPORTED 0x80042320
ErrSomeSnapshotsNotImported VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED 0x80042321
ErrMaximumNumberOfRemoteMachinesReached VSS_E_MAXIMUM_NUMBER_OF_REMOTE_MACHINES_REACHED 0x80042322
ErrRemoteServerUnavailable VSS_E_REMOTE_SERVER_UNAVAILABLE 0x80042323
ErrRemoteServerUnsupported VSS_E_REMOTE_SERVER_UNSUPPORTED 0x80042324
ErrRevertInProgress VSS_E_REVERT_IN_PROGRESS 0x80042325
ErrRevertVolumeLost VSS_E_REVERT_VOLUME_LOST 0x80042326
ErrRebootRequired VSS_E_REBOOT_REQUIRED 0x80042327
ErrTransactionFreezeTimeout VSS_E_TRANSACTION_FREEZE_TIMEOUT 0x80042328
ErrTransactionThawTimeout VSS_E_TRANSACTION_THAW_TIMEOUT 0x80042329
ErrUnselectedVolume VSS_E_UNSELECTED_VOLUME 0x8004232a
ErrSnapshotNotInSet VSS_E_SNAPSHOT_NOT_IN_SET 0x8004232b
ErrNestedVolumeLimit VSS_E_NESTED_VOLUME_LIMIT 0x8004232c
ErrVolumeNotLocal VSS_E_VOLUME_NOT_LOCAL 0x8004232d
ErrClusterTimeout VSS_E_CLUSTER_TIMEOUT 0x8004232e
ErrNotSupported VSS_E_NOT_SUPPORTED 0x8004232f
ErrWriterErrorPartialFailure VSS_E_WRITERERROR_PARTIAL_FAILURE 0x80042336
ErrWriterErrorInconsistentSnapshot VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT 0x800423f0
ErrWriterErrorOutOfResources VSS_E_WRITERERROR_OUTOFRESOURCES 0x800423f1
ErrWriterErrorTimeout VSS_E_WRITERERROR_TIMEOUT 0x800423f2
ErrWriterErrorRetryable VSS_E_WRITERERROR_RETRYABLE 0x800423f3
ErrWriterErrorNonRetryable VSS_E_WRITERERROR_NONRETRYABLE 0x800423f4
ErrWriterErrorRecoveryFailed VSS_E_WRITERERROR_RECOVERY_FAILED 0x800423f5
ErrBreakRevertIDFailed VSS_E_BREAK_REVERT_ID_FAILED 0x800423f6
ErrLegacyProvider VSS_E_LEGACY_PROVIDER 0x800423f7
ErrMissingDisk VSS_E_MISSING_DISK 0x800423f8
ErrMissingHiddenVolume VSS_E_MISSING_HIDDEN_VOLUME 0x800423f9
ErrMissingVolume VSS_E_MISSING_VOLUME 0x800423fa
ErrAutorecoveryFailed VSS_E_AUTORECOVERY_FAILED 0x800423fb
ErrDynamicDiskError VSS_E_DYNAMIC_DISK_ERROR 0x800423fc
ErrNonTransportableBCD VSS_E_NONTRANSPORTABLE_BCD 0x800423fd
ErrCannotRevertDiskID VSS_E_CANNOT_REVERT_DISKID 0x800423fe
ErrResyncInProgress VSS_E_RESYNC_IN_PROGRESS 0x800423ff
ErrClusterError VSS_E_CLUSTER_ERROR 0x80042400
ErrWriterStatusNotAvailable VSS_E_WRITER_STATUS_NOT_AVAILABLE 0x80042409
ErrCriticalVolumeOnInvalidDisk VSS_E_CRITICAL_VOLUME_ON_INVALID_DISK 0x80042411
ErrFSSTimeout VSS_E_FSS_TIMEOUT 0x80042417
ErrNotImpl E_NOTIMPL 0x80004001
ErrPointer E_POINTER 0x80004003
ErrFail E_FAIL 0x80004005
ErrGenericUnexpected E_UNEXPECTED 0x8000ffff
ErrAccessDenied E_ACCESSDENIED 0x80070005
ErrOutOfMemory E_OUTOFMEMORY 0x8007000e
ErrInvalidArg E_INVALIDARG 0x80070057
ErrASRDiskAssignmentFailed VSS_E_ASRERROR_DISK_ASSIGNMENT_FAILED 0x80042401
ErrASRDiskRecreationFailed VSS_E_ASRERROR_DISK_RECREATION_FAILED 0x80042402
ErrASRNoArcpath VSS_E_ASRERROR_NO_ARCPATH 0x80042403
ErrASRMissingDyndisk VSS_E_ASRERROR_MISSING_DYNDISK 0x80042404
ErrASRSharedCridisk VSS_E_ASRERROR_SHARED_CRIDISK 0x80042405
ErrASRDatadiskRdisk0 VSS_E_ASRERROR_DATADISK_RDISK0 0x80042406
ErrASRRdisk0Toosmall VSS_E_ASRERROR_RDISK0_TOOSMALL 0x80042407
ErrASRCriticalDisksTooSmall VSS_E_ASRERROR_CRITICAL_DISKS_TOO_SMALL 0x80042408
ErrASRDynamicVHDNotSupported VSS_E_ASRERROR_DYNAMIC_VHD_NOT_SUPPORTED 0x8004240a
ErrASRRdiskForSystemDiskNotFound VSS_E_ASRERROR_RDISK_FOR_SYSTEM_DISK_NOT_FOUND 0x80042412
ErrASRNoPhysicalDiskAvailable VSS_E_ASRERROR_NO_PHYSICAL_DISK_AVAILABLE 0x80042413
` + "ErrASRFixedPhysicalDiskAvailableAfterDiskExclusion " +
	"VSS_E_ASRERROR_FIXED_PHYSICAL_DISK_AVAILABLE_AFTER_DISK_EXCLUSION 0x80042414\n" +
	`ErrASRCriticalDiskCannotBeExcluded VSS_E_ASRERROR_CRITICAL_DISK_CANNOT_BE_EXCLUDED 0x80042415
ErrASRSystemPartitionHidden VSS_E_ASRERROR_SYSTEM_PARTITION_HIDDEN 0x80042416
VDSErrNotSupported VDS_E_NOT_SUPPORTED 0x180042400
VDSErrAnotherCallInProgress VDS_E_ANOTHER_CALL_IN_PROGRESS 0x180042404
VDSErrObjectNotFound VDS_E_OBJECT_NOT_FOUND 0x180042405
VDSErrObjectDeleted VDS_E_OBJECT_DELETED 0x18004240b
VDSErrNotEnoughSpace VDS_E_NOT_ENOUGH_SPACE 0x18004240f
VDSErrNotEnoughDrive VDS_E_NOT_ENOUGH_DRIVE 0x180042410
VDSErrDeviceInUse VDS_E_DEVICE_IN_USE 0x180042413
VDSErrInvalidOperation VDS_E_INVALID_OPERATION 0x180042415
VDSErrProviderCacheCorrupt VDS_E_PROVIDER_CACHE_CORRUPT 0x18004241f
VDSErrObjectStatusFailed VDS_E_OBJECT_STATUS_FAILED 0x180042431
VDSErrVolumeTemporarilyDismounted VDS_E_VOLUME_TEMPORARILY_DISMOUNTED 0x18004245c
VDSErrVolumePermanentlyDismounted VDS_E_VOLUME_PERMANENTLY_DISMOUNTED 0x18004245d
VDSErrVolumeHasPath VDS_E_VOLUME_HAS_PATH 0x18004245e
VDSErrRevertOnCloseMismatched VDS_E_REVERT_ON_CLOSE_MISMATCHED 0x180042462
`

// Each code has its original name, can be found by it, survives the wire, and has a text that reads well after a colon.
func TestCodes(t *testing.T) {
	listed := 0
	for line := range strings.Lines(codeNumbers) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		listed++
		n, err := strconv.ParseUint(f[2], 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		code, found := CodeByName(f[1])
		facility := ""
		if strings.HasPrefix(f[1], "VDS_") {
			facility = "vds"
		}
		text := code.Text()
		switch {
		case !found || code != Code(n) || code.Name() != f[1]:
			t.Errorf("%s: got %#x (%s)", f[1], uint64(code), code.Name())
		case code.HRESULT() != uint32(n) || code.Facility() != facility || MakeCode(code.HRESULT(), facility) != code:
			t.Errorf("%s: number %#x, facility %q", f[1], code.HRESULT(), code.Facility())
		case code.Failed() != (strings.Contains(f[1], "E_") && !strings.HasPrefix(f[1], "VSS_S_") && f[1] != "S_FALSE"):
			t.Errorf("%s: Failed is %v", f[1], code.Failed())
		case text == "" || len(text) > 90 || strings.HasSuffix(text, ".") || text[0] < 'a' || text[0] > 'z':
			t.Errorf("%s: text %q", f[1], text)
		}
	}
	if n := len(Codes()); n != listed {
		t.Errorf("Codes has %d, the table %d", n, listed)
	}
	if _, found := CodeByName("VSS_E_NO_SUCH"); found {
		t.Error("found a code that isn't")
	}
	if c := MakeCode(0x80041234, ""); c.Name() != "0x80041234" || c.Text() == "" || !c.Failed() {
		t.Errorf("an unknown code: %v", c)
	}
	if got, want := ErrBadState.Error(),
		"VSS_E_BAD_STATE (0x80042301): the call does not fit the state of the session"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
