package vss

// SnapshotState is the state of a shadow copy (VSS_SNAPSHOT_STATE, vss.idl). The numbers are not in chronological
// order: PostCommitted is between ProcessingPostCommit and ProcessingPreFinalCommit. They must not be compared by
// size.
type SnapshotState int32

// States of a shadow copy.
const (
	StateUnknown                   SnapshotState = 0
	StatePreparing                 SnapshotState = 1
	StateProcessingPrepare         SnapshotState = 2
	StatePrepared                  SnapshotState = 3
	StateProcessingPreCommit       SnapshotState = 4
	StatePreCommitted              SnapshotState = 5
	StateProcessingCommit          SnapshotState = 6
	StateCommitted                 SnapshotState = 7
	StateProcessingPostCommit      SnapshotState = 8
	StateProcessingPreFinalCommit  SnapshotState = 9
	StatePreFinalCommitted         SnapshotState = 10
	StateProcessingPostFinalCommit SnapshotState = 11
	StateCreated                   SnapshotState = 12
	StateAborted                   SnapshotState = 13
	StateDeleted                   SnapshotState = 14
	StatePostCommitted             SnapshotState = 15
)

var snapshotStateNames = [...]string{
	"unknown", "preparing", "processing-prepare", "prepared", "processing-precommit", "precommitted",
	"processing-commit", "committed", "processing-postcommit", "processing-prefinalcommit", "prefinalcommitted",
	"processing-postfinalcommit", "created", "aborted", "deleted", "postcommitted",
}

// String returns the state's name in lower case.
func (s SnapshotState) String() string { return name(snapshotStateNames[:], int(s)) }

// WriterState is the state of a writer in a session (VSS_WRITER_STATE, vsswriter.idl).
type WriterState int32

// States of a writer.
const (
	WriterUnknown                  WriterState = 0
	WriterStable                   WriterState = 1
	WriterWaitingForFreeze         WriterState = 2
	WriterWaitingForThaw           WriterState = 3
	WriterWaitingForPostSnapshot   WriterState = 4
	WriterWaitingForBackupComplete WriterState = 5
	WriterFailedAtIdentify         WriterState = 6
	WriterFailedAtPrepareBackup    WriterState = 7
	WriterFailedAtPrepareSnapshot  WriterState = 8
	WriterFailedAtFreeze           WriterState = 9
	WriterFailedAtThaw             WriterState = 10
	WriterFailedAtPostSnapshot     WriterState = 11
	WriterFailedAtBackupComplete   WriterState = 12
	WriterFailedAtPreRestore       WriterState = 13
	WriterFailedAtPostRestore      WriterState = 14
	WriterFailedAtBackupShutdown   WriterState = 15
)

var writerStateNames = [...]string{
	"unknown", "stable", "waiting-for-freeze", "waiting-for-thaw", "waiting-for-post-snapshot",
	"waiting-for-backup-complete", "failed-at-identify", "failed-at-prepare-backup", "failed-at-prepare-snapshot",
	"failed-at-freeze", "failed-at-thaw", "failed-at-post-snapshot", "failed-at-backup-complete",
	"failed-at-pre-restore", "failed-at-post-restore", "failed-at-backup-shutdown",
}

// String returns the state's name in lower case, as printed by commands.
func (s WriterState) String() string { return name(writerStateNames[:], int(s)) }

// Failed reports whether the state is a failure (6 to 15), which is final for the session except for clean-up.
func (s WriterState) Failed() bool {
	return s >= WriterFailedAtIdentify && s <= WriterFailedAtBackupShutdown
}

// ApplicationLevel is the order of writers in Freeze: front end first, system last; Thaw in reverse
// (VSS_APPLICATION_LEVEL).
type ApplicationLevel int32

// Levels of writers.
const (
	LevelUnknown  ApplicationLevel = 0
	LevelSystem   ApplicationLevel = 1
	LevelBackEnd  ApplicationLevel = 2
	LevelFrontEnd ApplicationLevel = 3 // the default of a writer
	LevelSystemRM ApplicationLevel = 4
	LevelAuto     ApplicationLevel = -1 // reserved
)

var levelNames = [...]string{"unknown", "system", "back-end", "front-end", "system-rm"}

// String returns the level's name as used by hook writers and commands.
func (l ApplicationLevel) String() string { return name(levelNames[:], int(l)) }

// ProviderType is the kind of a provider (VSS_PROVIDER_TYPE).
type ProviderType int32

// Kinds of providers.
const (
	ProviderUnknown   ProviderType = 0
	ProviderSystem    ProviderType = 1
	ProviderSoftware  ProviderType = 2
	ProviderHardware  ProviderType = 3
	ProviderFileShare ProviderType = 4
)

var providerTypeNames = [...]string{"unknown", "system", "software", "hardware", "fileshare"}

// String returns the type's name as printed by commands.
func (t ProviderType) String() string { return name(providerTypeNames[:], int(t)) }

// ObjectType is the kind of object that an identifier refers to (VSS_OBJECT_TYPE).
type ObjectType int32

// Kinds of objects.
const (
	ObjectUnknown     ObjectType = 0
	ObjectNone        ObjectType = 1
	ObjectSnapshotSet ObjectType = 2
	ObjectSnapshot    ObjectType = 3
	ObjectProvider    ObjectType = 4
)

// BackupType is the type of a backup (VSS_BACKUP_TYPE).
type BackupType int32

// Kinds of backups.
const (
	BackupUndefined    BackupType = 0
	BackupFull         BackupType = 1
	BackupIncremental  BackupType = 2
	BackupDifferential BackupType = 3
	BackupLog          BackupType = 4
	BackupCopy         BackupType = 5
	BackupOther        BackupType = 6
)

var backupTypeNames = [...]string{"undefined", "full", "incremental", "differential", "log", "copy", "other"}

// String returns the type's name as used in documents and commands.
func (t BackupType) String() string { return name(backupTypeNames[:], int(t)) }

// BreakFlags are the options of BreakSnapshotSetEx (_VSS_HARDWARE_OPTIONS, low half).
type BreakFlags uint32

// Options of a break.
const (
	BreakMaskLUNs           BreakFlags = 0x1 // mask the copies' LUNs from this host; not with other flags
	BreakMakeReadWrite      BreakFlags = 0x2 // leave the volumes read/write
	BreakRevertIdentityAll  BreakFlags = 0x4 // give all LUNs their originals' identities, or fail and change none
	BreakRevertIdentityNone BreakFlags = 0x8 // leave the identities as they are
)

// CheckBreakFlags returns an error for invalid combinations. Errors: E_INVALIDARG. Source: vshadow tool and sample.
func CheckBreakFlags(f BreakFlags) error {
	bad := func(why string) error { return E("BreakSnapshotSetEx", ErrInvalidArg, nil).Advise(why) }
	switch {
	case f&^0xf != 0:
		return bad("the flags have bits that requesters must not set")
	case f&BreakMaskLUNs != 0 && f != BreakMaskLUNs:
		return bad("masking can't be combined with other flags")
	case f&BreakRevertIdentityAll != 0 && f&BreakRevertIdentityNone != 0:
		return bad("choose to revert identities or to keep them, not both")
	}
	return nil
}

// LUNStateChange is what the service reports to a hardware provider about its LUNs (_VSS_HARDWARE_OPTIONS, high half).
type LUNStateChange uint32

// Changes of a LUN's state. The first three are notifications, the last is a request.
const (
	NotifyReadWrite       LUNStateChange = 0x100 // about to become read/write permanently
	NotifyLUNPreRecovery  LUNStateChange = 0x200 // about to become read/write temporarily
	NotifyLUNPostRecovery LUNStateChange = 0x400 // read-only again
	DoMaskLUNs            LUNStateChange = 0x800 // mask these LUNs from this host; never delete them
)

// SnapshotCompatibility is what an existing copy rules out on its original volume (VSS_SNAPSHOT_COMPATIBILITY,
// vss.idl). Source: IsVolumeSnapshotted.
type SnapshotCompatibility int32

// Bits of the mask.
const (
	DisableDefragmentation SnapshotCompatibility = 0x1 // VSS_SC_DISABLE_DEFRAG
	DisableContentIndex    SnapshotCompatibility = 0x2 // VSS_SC_DISABLE_CONTENTINDEX
)

// RecoveryOptions are the options of a LUN resync (VSS_RECOVERY_OPTIONS, vss.idl). Source: RecoverSet.
type RecoveryOptions uint32

// Options of a resync.
const (
	// VSS_RECOVERY_REVERT_IDENTITY_ALL: targets get the originals' disk identities
	RecoveryRevertIdentityAll RecoveryOptions = 0x100
	// VSS_RECOVERY_NO_VOLUME_CHECK: also overwrite volumes that were not selected
	RecoveryNoVolumeCheck RecoveryOptions = 0x200
)

func name(names []string, n int) string {
	if n < 0 || n >= len(names) {
		return "unknown"
	}
	return names[n]
}
