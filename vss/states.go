package vss

// SnapshotState is the state of a shadow copy (VSS_SNAPSHOT_STATE, vss.idl). The numbers are not in the order of time:
// PostCommitted lies between ProcessingPostCommit and ProcessingPreFinalCommit. Never compare them by size.
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

// String is the state's name in lower case.
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

// String is the state's name in lower case, as commands print it.
func (s WriterState) String() string { return name(writerStateNames[:], int(s)) }

// Failed says whether the state is one of the failed ones (6 to 15), final for the session but for clean-up.
func (s WriterState) Failed() bool {
	return s >= WriterFailedAtIdentify && s <= WriterFailedAtBackupShutdown
}

// ApplicationLevel orders the Freeze of writers: front end first, system last; Thaw in reverse (VSS_APPLICATION_LEVEL).
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

// String is the level's name as hook writers and commands spell it.
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

// String is the kind's name as commands print it.
func (t ProviderType) String() string { return name(providerTypeNames[:], int(t)) }

// ObjectType says what an identifier names (VSS_OBJECT_TYPE).
type ObjectType int32

// Kinds of objects.
const (
	ObjectUnknown     ObjectType = 0
	ObjectNone        ObjectType = 1
	ObjectSnapshotSet ObjectType = 2
	ObjectSnapshot    ObjectType = 3
	ObjectProvider    ObjectType = 4
)

// BackupType is the kind of a backup (VSS_BACKUP_TYPE).
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

// String is the type's name as documents and commands spell it.
func (t BackupType) String() string { return name(backupTypeNames[:], int(t)) }

// BreakFlags are the choices of BreakSnapshotSetEx (_VSS_HARDWARE_OPTIONS, low half).
type BreakFlags uint32

// Choices of a break.
const (
	BreakMaskLUNs           BreakFlags = 0x1 // mask the copies' LUNs from this host; alone only
	BreakMakeReadWrite      BreakFlags = 0x2 // leave the volumes read/write
	BreakRevertIdentityAll  BreakFlags = 0x4 // give all LUNs their originals' identities, or fail and change none
	BreakRevertIdentityNone BreakFlags = 0x8 // leave the identities as they are
)

// CheckBreakFlags refuses mixes that mean nothing. Errors: E_INVALIDARG. Source: vshadow tool and sample.
func CheckBreakFlags(f BreakFlags) error {
	bad := func(why string) error { return E("BreakSnapshotSetEx", ErrInvalidArg, nil).Advise(why) }
	switch {
	case f&^0xf != 0:
		return bad("the flags have bits that are not a requester's")
	case f&BreakMaskLUNs != 0 && f != BreakMaskLUNs:
		return bad("masking goes with no other flag")
	case f&BreakRevertIdentityAll != 0 && f&BreakRevertIdentityNone != 0:
		return bad("choose to revert identities or to keep them, not both")
	}
	return nil
}

// LUNStateChange is what the service tells a hardware provider of its LUNs (_VSS_HARDWARE_OPTIONS, high half).
type LUNStateChange uint32

// Changes of a LUN's state. The first three inform; the last is an order.
const (
	NotifyReadWrite       LUNStateChange = 0x100 // about to become read/write for good
	NotifyLUNPreRecovery  LUNStateChange = 0x200 // about to become read/write for a while
	NotifyLUNPostRecovery LUNStateChange = 0x400 // read-only again
	DoMaskLUNs            LUNStateChange = 0x800 // mask these LUNs from this host; never delete them
)

func name(names []string, n int) string {
	if n < 0 || n >= len(names) {
		return "unknown"
	}
	return names[n]
}
