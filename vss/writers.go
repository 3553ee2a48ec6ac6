package vss

import (
	"fmt"
	"slices"
)

// UsageType is the role of a writer's data on the machine (VSS_USAGE_TYPE, vswriter.idl).
type UsageType int32

// Usages. UsageUndefined is an error of the writer.
const (
	UsageUndefined           UsageType = 0
	UsageBootableSystemState UsageType = 1
	UsageSystemService       UsageType = 2
	UsageUserData            UsageType = 3
	UsageOther               UsageType = 4
)

var usageNames = []string{"undefined", "bootable-system-state", "system-service", "user-data", "other"}

// String returns the usage's name in lower case.
func (u UsageType) String() string { return name(usageNames, int(u)) }

// MarshalText implements encoding.TextMarshaler.
func (u UsageType) MarshalText() ([]byte, error) { return word(usageNames, int(u)) }

// UnmarshalText implements encoding.TextUnmarshaler. Errors: E_INVALIDARG.
func (u *UsageType) UnmarshalText(b []byte) error { return number(usageNames, b, u) }

// SourceType is the way in which a writer's data is managed (VSS_SOURCE_TYPE, vswriter.idl).
type SourceType int32

// Sources. SourceUndefined is an error of the writer.
const (
	SourceUndefined       SourceType = 0
	SourceTransactedDB    SourceType = 1
	SourceNonTransactedDB SourceType = 2
	SourceOther           SourceType = 3
)

var sourceNames = []string{"undefined", "transacted-db", "non-transacted-db", "other"}

// String returns the source's name in lower case.
func (s SourceType) String() string { return name(sourceNames, int(s)) }

// MarshalText implements encoding.TextMarshaler.
func (s SourceType) MarshalText() ([]byte, error) { return word(sourceNames, int(s)) }

// UnmarshalText implements encoding.TextUnmarshaler. Errors: E_INVALIDARG.
func (s *SourceType) UnmarshalText(b []byte) error { return number(sourceNames, b, s) }

// ComponentType is the kind of a component (VSS_COMPONENT_TYPE, vswriter.idl).
type ComponentType int32

// Kinds of components. A database lists data files and log files separately, and has neither recursion nor alternate
// paths.
const (
	ComponentUndefined ComponentType = 0
	ComponentDatabase  ComponentType = 1
	ComponentFileGroup ComponentType = 2
)

var componentNames = []string{"undefined", "database", "filegroup"}

// String returns the kind's name as used in documents.
func (t ComponentType) String() string { return name(componentNames, int(t)) }

// MarshalText implements encoding.TextMarshaler.
func (t ComponentType) MarshalText() ([]byte, error) { return word(componentNames, int(t)) }

// UnmarshalText implements encoding.TextUnmarshaler. Errors: E_INVALIDARG.
func (t *ComponentType) UnmarshalText(b []byte) error { return number(componentNames, b, t) }

// ComponentFlags are options of a component (VSS_COMPONENT_FLAGS, vswriter.idl).
type ComponentFlags uint32

// Flags of a component.
const (
	ComponentBackupRecovery      ComponentFlags = 0x1 // the writer recovers it in the copy
	ComponentAppRollbackRecovery ComponentFlags = 0x2 // the same, if the copy is for rollback
	ComponentNotSystemState      ComponentFlags = 0x4 // outside system state, although its writer is part of it
)

// RestoreMethod is the way in which a writer's files are restored (VSS_RESTOREMETHOD_ENUM, vswriter.idl).
type RestoreMethod int32

// Restore methods. RestoreUndefined is an error of the writer.
const (
	RestoreUndefined               RestoreMethod = 0
	RestoreIfNotThere              RestoreMethod = 1
	RestoreIfCanReplace            RestoreMethod = 2
	StopRestoreStart               RestoreMethod = 3
	RestoreToAlternateLocation     RestoreMethod = 4
	RestoreAtReboot                RestoreMethod = 5
	RestoreAtRebootIfCannotReplace RestoreMethod = 6
	RestoreCustom                  RestoreMethod = 7
	RestoreStopStart               RestoreMethod = 8
)

var restoreMethodNames = []string{
	"undefined", "if-not-there", "if-can-replace", "stop-restore-start", "to-alternate-location", "at-reboot",
	"at-reboot-if-cannot-replace", "custom", "restore-stop-start",
}

// String returns the method's name in lower case.
func (m RestoreMethod) String() string { return name(restoreMethodNames, int(m)) }

// MarshalText implements encoding.TextMarshaler.
func (m RestoreMethod) MarshalText() ([]byte, error) { return word(restoreMethodNames, int(m)) }

// UnmarshalText implements encoding.TextUnmarshaler. Errors: E_INVALIDARG.
func (m *RestoreMethod) UnmarshalText(b []byte) error { return number(restoreMethodNames, b, m) }

// WriterRestore is when a writer receives restore events (VSS_WRITERRESTORE_ENUM, vswriter.idl).
type WriterRestore int32

// When a writer takes part in a restore. WriterRestoreUndefined is an error of the writer.
const (
	WriterRestoreUndefined      WriterRestore = 0
	WriterRestoreNever          WriterRestore = 1
	WriterRestoreIfReplaceFails WriterRestore = 2 // PreRestore always, PostRestore if replacing failed
	WriterRestoreAlways         WriterRestore = 3
)

var writerRestoreNames = []string{"undefined", "never", "if-replace-fails", "always"}

// String returns the value's name in lower case.
func (w WriterRestore) String() string { return name(writerRestoreNames, int(w)) }

// MarshalText implements encoding.TextMarshaler.
func (w WriterRestore) MarshalText() ([]byte, error) { return word(writerRestoreNames, int(w)) }

// UnmarshalText implements encoding.TextUnmarshaler. Errors: E_INVALIDARG.
func (w *WriterRestore) UnmarshalText(b []byte) error { return number(writerRestoreNames, b, w) }

// RestoreTarget is where a writer requires a component to be restored (VSS_RESTORE_TARGET, vswriter.idl).
type RestoreTarget int32

// Targets. TargetOriginal means: obey the restore method, which may specify another place.
const (
	TargetUndefined        RestoreTarget = 0
	TargetOriginal         RestoreTarget = 1
	TargetAlternate        RestoreTarget = 2
	TargetDirected         RestoreTarget = 3
	TargetOriginalLocation RestoreTarget = 4
)

var restoreTargetNames = []string{"undefined", "original", "alternate", "directed", "original-location"}

// String returns the target's name in lower case.
func (t RestoreTarget) String() string { return name(restoreTargetNames, int(t)) }

// MarshalText implements encoding.TextMarshaler.
func (t RestoreTarget) MarshalText() ([]byte, error) { return word(restoreTargetNames, int(t)) }

// UnmarshalText implements encoding.TextUnmarshaler. Errors: E_INVALIDARG.
func (t *RestoreTarget) UnmarshalText(b []byte) error { return number(restoreTargetNames, b, t) }

// FileRestoreStatus is the result of restoring a component's files (VSS_FILE_RESTORE_STATUS, vswriter.idl).
type FileRestoreStatus int32

// Results. RestoredNone and RestoredFailed are both failures; only with the latter the files on disk are damaged.
const (
	RestoredUndefined FileRestoreStatus = 0
	RestoredNone      FileRestoreStatus = 1
	RestoredAll       FileRestoreStatus = 2
	RestoredFailed    FileRestoreStatus = 3
)

var restoreStatusNames = []string{"undefined", "none", "all", "failed"}

// String returns the status's name in lower case.
func (s FileRestoreStatus) String() string { return name(restoreStatusNames, int(s)) }

// MarshalText implements encoding.TextMarshaler.
func (s FileRestoreStatus) MarshalText() ([]byte, error) { return word(restoreStatusNames, int(s)) }

// UnmarshalText implements encoding.TextUnmarshaler. Errors: E_INVALIDARG.
func (s *FileRestoreStatus) UnmarshalText(b []byte) error { return number(restoreStatusNames, b, s) }

// RestoreType is the type of a restore (VSS_RESTORE_TYPE, vss.idl). Undefined is treated as ByCopy.
type RestoreType int32

// Types of restores.
const (
	RestoreTypeUndefined RestoreType = 0
	RestoreByCopy        RestoreType = 1
	RestoreImport        RestoreType = 2
	RestoreOther         RestoreType = 3
)

var restoreTypeNames = []string{"undefined", "by-copy", "import", "other"}

// String returns the type's name in lower case.
func (t RestoreType) String() string { return name(restoreTypeNames, int(t)) }

// RollForwardType is how far a database is rolled forward (VSS_ROLLFORWARD_TYPE, vss.idl).
type RollForwardType int32

// Types of rolling forward.
const (
	RollForwardUndefined RollForwardType = 0
	RollForwardNone      RollForwardType = 1
	RollForwardAll       RollForwardType = 2
	RollForwardPartial   RollForwardType = 3
)

var rollForwardNames = []string{"undefined", "none", "all", "partial"}

// String returns the type's name in lower case.
func (t RollForwardType) String() string { return name(rollForwardNames, int(t)) }

// MarshalText implements encoding.TextMarshaler.
func (t RollForwardType) MarshalText() ([]byte, error) { return word(rollForwardNames, int(t)) }

// UnmarshalText implements encoding.TextUnmarshaler. Errors: E_INVALIDARG.
func (t *RollForwardType) UnmarshalText(b []byte) error { return number(rollForwardNames, b, t) }

// FileSpecBackupType has the types of backup that must save a file set, and those of them that must read it from a
// shadow copy (VSS_FILE_SPEC_BACKUP_TYPE, vswriter.idl). The order differs from BackupType, where incremental precedes
// differential.
type FileSpecBackupType uint32

// Bits of a file set's mask.
const (
	FullBackupRequired           FileSpecBackupType = 0x00001
	DifferentialBackupRequired   FileSpecBackupType = 0x00002
	IncrementalBackupRequired    FileSpecBackupType = 0x00004
	LogBackupRequired            FileSpecBackupType = 0x00008
	AllBackupRequired            FileSpecBackupType = 0x0000f
	FullSnapshotRequired         FileSpecBackupType = 0x00100
	DifferentialSnapshotRequired FileSpecBackupType = 0x00200
	IncrementalSnapshotRequired  FileSpecBackupType = 0x00400
	LogSnapshotRequired          FileSpecBackupType = 0x00800
	AllSnapshotRequired          FileSpecBackupType = 0x00f00
	CreatedDuringBackup          FileSpecBackupType = 0x10000

	DefaultFileSpecBackupType = AllBackupRequired | AllSnapshotRequired // 3855
)

// BackupSchema is what a writer supports beyond full backups (VSS_BACKUP_SCHEMA, vswriter.idl).
type BackupSchema uint32

// Bits of a schema. Bit 0x0800 is unused.
const (
	SchemaDifferential                     BackupSchema = 0x0001
	SchemaIncremental                      BackupSchema = 0x0002
	SchemaExclusiveIncrementalDifferential BackupSchema = 0x0004
	SchemaLog                              BackupSchema = 0x0008
	SchemaCopy                             BackupSchema = 0x0010
	SchemaTimestamped                      BackupSchema = 0x0020
	SchemaLastModify                       BackupSchema = 0x0040
	SchemaLSN                              BackupSchema = 0x0080 // reserved
	SchemaNewTarget                        BackupSchema = 0x0100
	SchemaRestoreWithMove                  BackupSchema = 0x0200
	SchemaIndependentSystemState           BackupSchema = 0x0400
	SchemaRollForwardRestore               BackupSchema = 0x1000
	SchemaRestoreRename                    BackupSchema = 0x2000
	SchemaAuthoritativeRestore             BackupSchema = 0x4000
	SchemaParallelRestores                 BackupSchema = 0x8000
)

func word(names []string, n int) ([]byte, error) {
	if n < 0 || n >= len(names) {
		return nil, E("Name", ErrInvalidArg, fmt.Errorf("invalid value %d", n))
	}
	return []byte(names[n]), nil
}

func number[T ~int32](names []string, b []byte, to *T) error {
	i := slices.Index(names, string(b))
	if i < 0 {
		return E("Name", ErrInvalidArg, fmt.Errorf("want one of %v", names)).On(string(b))
	}
	*to = T(i)
	return nil
}

// IsWriterError reports whether a writer may set this code as its status. NOT_RESPONDING and STATUS_NOT_AVAILABLE are
// set by the service. Source: SetWriterFailureEx.
func IsWriterError(c Code) bool {
	switch c {
	case ErrWriterErrorInconsistentSnapshot,
		ErrWriterErrorOutOfResources,
		ErrWriterErrorTimeout,
		ErrWriterErrorRetryable,
		ErrWriterErrorNonRetryable,
		ErrWriterErrorRecoveryFailed,
		ErrWriterErrorPartialFailure:
		return true
	}
	return false
}
