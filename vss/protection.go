package vss

// ProtectionLevel determines what is kept when copy on write fails (VSS_PROTECTION_LEVEL, vsmgmt.idl).
type ProtectionLevel int32

// Levels of protection.
const (
	// VSS_PROTECTION_LEVEL_ORIGINAL_VOLUME: the copies are dropped, the original continues
	ProtectOriginalVolume ProtectionLevel = 0
	// VSS_PROTECTION_LEVEL_SNAPSHOT: the original is dismounted, the copies are kept
	ProtectSnapshot ProtectionLevel = 1
)

var protectionLevelNames = []string{"original-volume", "snapshot"}

// String returns the level's name in lower case.
func (l ProtectionLevel) String() string { return name(protectionLevelNames, int(l)) }

// ProtectionFault is the reason why a copy on write into the shadow storage failed (VSS_PROTECTION_FAULT, vsmgmt.idl).
type ProtectionFault int32

// Faults. Each original name begins with VSS_PROTECTION_FAULT_.
const (
	FaultNone                      ProtectionFault = 0  // NONE
	FaultDiffAreaMissing           ProtectionFault = 1  // DIFF_AREA_MISSING: its volume was not found, possibly not yet
	FaultIOFailureDuringOnline     ProtectionFault = 2  // IO_FAILURE_DURING_ONLINE
	FaultMetaDataCorruption        ProtectionFault = 3  // META_DATA_CORRUPTION
	FaultMemoryAllocationFailure   ProtectionFault = 4  // MEMORY_ALLOCATION_FAILURE: possibly temporary
	FaultMappedMemoryFailure       ProtectionFault = 5  // MAPPED_MEMORY_FAILURE
	FaultCOWReadFailure            ProtectionFault = 6  // COW_READ_FAILURE: the live volume could not be read
	FaultCOWWriteFailure           ProtectionFault = 7  // COW_WRITE_FAILURE
	FaultDiffAreaFull              ProtectionFault = 8  // DIFF_AREA_FULL
	FaultGrowTooSlow               ProtectionFault = 9  // GROW_TOO_SLOW: its volume ran out of space meanwhile
	FaultGrowFailed                ProtectionFault = 10 // GROW_FAILED
	FaultDestroyAllSnapshots       ProtectionFault = 11 // DESTROY_ALL_SNAPSHOTS: unexpected error
	FaultFileSystemFailure         ProtectionFault = 12 // FILE_SYSTEM_FAILURE
	FaultIOFailure                 ProtectionFault = 13 // IO_FAILURE
	FaultDiffAreaRemoved           ProtectionFault = 14 // DIFF_AREA_REMOVED
	FaultExternalWriterToDiffArea  ProtectionFault = 15 // EXTERNAL_WRITER_TO_DIFF_AREA
	FaultMountDuringClusterOffline ProtectionFault = 16 // MOUNT_DURING_CLUSTER_OFFLINE
)

var protectionFaultNames = []string{
	"none", "diff-area-missing", "io-failure-during-online", "meta-data-corruption", "memory-allocation-failure",
	"mapped-memory-failure", "cow-read-failure", "cow-write-failure", "diff-area-full", "grow-too-slow", "grow-failed",
	"destroy-all-snapshots", "file-system-failure", "io-failure", "diff-area-removed", "external-writer-to-diff-area",
	"mount-during-cluster-offline",
}

// String returns the fault's name in lower case.
func (f ProtectionFault) String() string { return name(protectionFaultNames, int(f)) }
