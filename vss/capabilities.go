package vss

// ProviderCapabilities is the mask VSS_PROVIDER_CAPABILITIES (vss.idl). The original reserves all of it: the numbers are
// here so that they can be passed on, and no behaviour rests on them.
type ProviderCapabilities uint32

// Bits of the mask.
const (
	CapabilityLegacy          ProviderCapabilities = 0x001 // VSS_PRV_CAPABILITY_LEGACY
	CapabilityCompliant       ProviderCapabilities = 0x002 // VSS_PRV_CAPABILITY_COMPLIANT
	CapabilityLUNRepoint      ProviderCapabilities = 0x004 // VSS_PRV_CAPABILITY_LUN_REPOINT
	CapabilityLUNResync       ProviderCapabilities = 0x008 // VSS_PRV_CAPABILITY_LUN_RESYNC
	CapabilityOfflineCreation ProviderCapabilities = 0x010 // VSS_PRV_CAPABILITY_OFFLINE_CREATION
	CapabilityMultipleImport  ProviderCapabilities = 0x020 // VSS_PRV_CAPABILITY_MULTIPLE_IMPORT
	CapabilityRecycling       ProviderCapabilities = 0x040 // VSS_PRV_CAPABILITY_RECYCLING
	CapabilityPlex            ProviderCapabilities = 0x080 // VSS_PRV_CAPABILITY_PLEX
	CapabilityDifferential    ProviderCapabilities = 0x100 // VSS_PRV_CAPABILITY_DIFFERENTIAL
	CapabilityClustered       ProviderCapabilities = 0x200 // VSS_PRV_CAPABILITY_CLUSTERED
)

// SnapshotCompatibility says what an existing copy forbids on its original volume (VSS_SNAPSHOT_COMPATIBILITY, vss.idl).
// Source: IsVolumeSnapshotted.
type SnapshotCompatibility int32

// Bits of the mask.
const (
	DisableDefragmentation SnapshotCompatibility = 0x1 // VSS_SC_DISABLE_DEFRAG
	DisableContentIndex    SnapshotCompatibility = 0x2 // VSS_SC_DISABLE_CONTENTINDEX
)

// RecoveryOptions are the choices of a LUN resync (VSS_RECOVERY_OPTIONS, vss.idl). Source: RecoverSet.
type RecoveryOptions uint32

// Choices of a resync.
const (
	RecoveryRevertIdentityAll RecoveryOptions = 0x100 // VSS_RECOVERY_REVERT_IDENTITY_ALL: targets get the originals' disk identities
	RecoveryNoVolumeCheck     RecoveryOptions = 0x200 // VSS_RECOVERY_NO_VOLUME_CHECK: overwrite also volumes that nobody named
)
