package vss

import (
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Everything else that leaves the process.
const numbers = `
AttrPersistent 0x00000001
AttrNoAutoRecovery 0x00000002
AttrClientAccessible 0x00000004
AttrNoAutoRelease 0x00000008
AttrNoWriters 0x00000010
AttrTransportable 0x00000020
AttrNotSurfaced 0x00000040
AttrNotTransacted 0x00000080
AttrHardwareAssisted 0x00010000
AttrDifferential 0x00020000
AttrPlex 0x00040000
AttrImported 0x00080000
AttrExposedLocally 0x00100000
AttrExposedRemotely 0x00200000
AttrAutoRecover 0x00400000
AttrRollbackRecovery 0x00800000
AttrDelayedPostSnapshot 0x01000000
AttrTxFRecovery 0x02000000
AttrFileShare 0x04000000

ContextBackup 0x00
ContextFileShareBackup 0x10
ContextNASRollback 0x19
ContextAppRollback 0x09
ContextClientAccessible 0x1d
ContextClientAccessibleWriters 0x0d
ContextAll 0xffffffff

StateUnknown 0
StatePreparing 1
StateProcessingPrepare 2
StatePrepared 3
StateProcessingPreCommit 4
StatePreCommitted 5
StateProcessingCommit 6
StateCommitted 7
StateProcessingPostCommit 8
StateProcessingPreFinalCommit 9
StatePreFinalCommitted 10
StateProcessingPostFinalCommit 11
StateCreated 12
StateAborted 13
StateDeleted 14
StatePostCommitted 15

WriterUnknown 0
WriterStable 1
WriterWaitingForFreeze 2
WriterWaitingForThaw 3
WriterWaitingForPostSnapshot 4
WriterWaitingForBackupComplete 5
WriterFailedAtIdentify 6
WriterFailedAtPrepareBackup 7
WriterFailedAtPrepareSnapshot 8
WriterFailedAtFreeze 9
WriterFailedAtThaw 10
WriterFailedAtPostSnapshot 11
WriterFailedAtBackupComplete 12
WriterFailedAtPreRestore 13
WriterFailedAtPostRestore 14
WriterFailedAtBackupShutdown 15

LevelUnknown 0
LevelSystem 1
LevelBackEnd 2
LevelFrontEnd 3
LevelSystemRM 4
LevelAuto -1

ProviderUnknown 0
ProviderSystem 1
ProviderSoftware 2
ProviderHardware 3
ProviderFileShare 4

ObjectUnknown 0
ObjectNone 1
ObjectSnapshotSet 2
ObjectSnapshot 3
ObjectProvider 4

BackupUndefined 0
BackupFull 1
BackupIncremental 2
BackupDifferential 3
BackupLog 4
BackupCopy 5
BackupOther 6

BreakMaskLUNs 0x1
BreakMakeReadWrite 0x2
BreakRevertIdentityAll 0x4
BreakRevertIdentityNone 0x8
NotifyReadWrite 0x100
NotifyLUNPreRecovery 0x200
NotifyLUNPostRecovery 0x400
DoMaskLUNs 0x800

UsageUndefined 0
UsageBootableSystemState 1
UsageSystemService 2
UsageUserData 3
UsageOther 4

SourceUndefined 0
SourceTransactedDB 1
SourceNonTransactedDB 2
SourceOther 3

ComponentUndefined 0
ComponentDatabase 1
ComponentFileGroup 2

ComponentBackupRecovery 0x1
ComponentAppRollbackRecovery 0x2
ComponentNotSystemState 0x4

RestoreUndefined 0
RestoreIfNotThere 1
RestoreIfCanReplace 2
StopRestoreStart 3
RestoreToAlternateLocation 4
RestoreAtReboot 5
RestoreAtRebootIfCannotReplace 6
RestoreCustom 7
RestoreStopStart 8

WriterRestoreUndefined 0
WriterRestoreNever 1
WriterRestoreIfReplaceFails 2
WriterRestoreAlways 3

TargetUndefined 0
TargetOriginal 1
TargetAlternate 2
TargetDirected 3
TargetOriginalLocation 4

RestoredUndefined 0
RestoredNone 1
RestoredAll 2
RestoredFailed 3

RestoreTypeUndefined 0
RestoreByCopy 1
RestoreImport 2
RestoreOther 3

RollForwardUndefined 0
RollForwardNone 1
RollForwardAll 2
RollForwardPartial 3

FullBackupRequired 0x00001
DifferentialBackupRequired 0x00002
IncrementalBackupRequired 0x00004
LogBackupRequired 0x00008
AllBackupRequired 0x0000f
FullSnapshotRequired 0x00100
DifferentialSnapshotRequired 0x00200
IncrementalSnapshotRequired 0x00400
LogSnapshotRequired 0x00800
AllSnapshotRequired 0x00f00
CreatedDuringBackup 0x10000
DefaultFileSpecBackupType 3855

SchemaDifferential 0x0001
SchemaIncremental 0x0002
SchemaExclusiveIncrementalDifferential 0x0004
SchemaLog 0x0008
SchemaCopy 0x0010
SchemaTimestamped 0x0020
SchemaLastModify 0x0040
SchemaLSN 0x0080
SchemaNewTarget 0x0100
SchemaRestoreWithMove 0x0200
SchemaIndependentSystemState 0x0400
SchemaRollForwardRestore 0x1000
SchemaRestoreRename 0x2000
SchemaAuthoritativeRestore 0x4000
SchemaParallelRestores 0x8000

SubscribePostSnapshot 0x1
SubscribeBackupEvents 0x2
SubscribeRestoreEvents 0x4
SubscribeIOThrottling 0x8
SubscribeAll 0xffffffff
SubscribeDefault 0x6

DisableDefragmentation 0x1
DisableContentIndex 0x2

RecoveryRevertIdentityAll 256
RecoveryNoVolumeCheck 512

ProtectOriginalVolume 0
ProtectSnapshot 1

FaultNone 0
FaultDiffAreaMissing 1
FaultIOFailureDuringOnline 2
FaultMetaDataCorruption 3
FaultMemoryAllocationFailure 4
FaultMappedMemoryFailure 5
FaultCOWReadFailure 6
FaultCOWWriteFailure 7
FaultDiffAreaFull 8
FaultGrowTooSlow 9
FaultGrowFailed 10
FaultDestroyAllSnapshots 11
FaultFileSystemFailure 12
FaultIOFailure 13
FaultDiffAreaRemoved 14
FaultExternalWriterToDiffArea 15
FaultMountDuringClusterOffline 16

BusUnknown 0
BusSCSI 1
BusATAPI 2
BusATA 3
Bus1394 4
BusSSA 5
BusFibre 6
BusUSB 7
BusRAID 8
BusISCSI 9
BusSAS 0xa
BusSATA 0xb
BusSD 0xc
BusMMC 0xd
BusVirtual 0xe
BusFileBackedVirtual 0xf
BusSpaces 0x10
BusNVMe 0x11
BusSCM 0x12
BusUFS 0x13

CodeSetBinary 1
CodeSetASCII 2
CodeSetUTF8 3

IdentifierVendorSpecific 0
IdentifierT10Vendor 1
IdentifierEUI64 2
IdentifierNAA 3
IdentifierPortRelative 4
IdentifierTargetPort 5
IdentifierLUGroup 6
IdentifierMD5LU 7
IdentifierSCSIName 8

InterconnectUnknown 0
InterconnectFCFS 1
InterconnectFCPH 2
InterconnectFCPH3 3
InterconnectMAC 4
InterconnectSCSI 5

FlagReadOnly 0x1
FlagShadowCopy 0x2
FlagHidden 0x4
FlagNoAutoMount 0x8
FlagsShadowCopy 0xf

ConsistencyCrash 0
ConsistencyFileSystem 1
ConsistencyApplication 2

MaxVolumes 64
`

// constants are all exported constants of the package, by the compiler's own evaluation.
func constants(t *testing.T) map[string]int64 {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".go") && !strings.HasSuffix(e.Name(), "_test.go") {
			f, err := parser.ParseFile(fset, e.Name(), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	pkg, err := (&types.Config{Importer: importer.ForCompiler(fset, "source", nil)}).Check("vss", fset, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, name := range pkg.Scope().Names() {
		if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok && c.Exported() {
			n, exact := constant.Int64Val(c.Val())
			if !exact {
				t.Fatalf("%s isn't an integer", name)
			}
			out[name] = n
		}
	}
	return out
}

// Every number that leaves the process is written out above and in code_test.go. None may ever change; a new constant
// needs a line.
func TestNumbers(t *testing.T) {
	got := constants(t)
	seen := map[string]bool{}
	for line := range strings.Lines(codeNumbers + numbers) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		want, err := strconv.ParseInt(f[len(f)-1], 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		n, there := got[f[0]]
		switch {
		case !there:
			t.Errorf("%s is gone", f[0])
		case seen[f[0]]:
			t.Errorf("%s is listed twice", f[0])
		case n != want:
			t.Errorf("%s is %#x, must be %#x", f[0], n, want)
		}
		seen[f[0]] = true
	}
	for name := range got {
		if !seen[name] {
			t.Errorf("%s isn't pinned: add it to the table, with the number of the specification", name)
		}
	}
}
