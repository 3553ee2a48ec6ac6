package vss

// PropertyID names one property of a shadow copy (VSS_SNAPSHOT_PROPERTY_ID, vss.idl). Source: SetSnapshotProperty.
type PropertyID int32

// Properties of a shadow copy.
const (
	PropertyUnknown            PropertyID = 0  // VSS_SPROPID_UNKNOWN
	PropertySnapshotID         PropertyID = 1  // VSS_SPROPID_SNAPSHOT_ID
	PropertySnapshotSetID      PropertyID = 2  // VSS_SPROPID_SNAPSHOT_SET_ID
	PropertySnapshotsCount     PropertyID = 3  // VSS_SPROPID_SNAPSHOTS_COUNT
	PropertySnapshotDevice     PropertyID = 4  // VSS_SPROPID_SNAPSHOT_DEVICE
	PropertyOriginalVolume     PropertyID = 5  // VSS_SPROPID_ORIGINAL_VOLUME
	PropertyOriginatingMachine PropertyID = 6  // VSS_SPROPID_ORIGINATING_MACHINE
	PropertyServiceMachine     PropertyID = 7  // VSS_SPROPID_SERVICE_MACHINE
	PropertyExposedName        PropertyID = 8  // VSS_SPROPID_EXPOSED_NAME
	PropertyExposedPath        PropertyID = 9  // VSS_SPROPID_EXPOSED_PATH
	PropertyProviderID         PropertyID = 10 // VSS_SPROPID_PROVIDER_ID
	PropertySnapshotAttributes PropertyID = 11 // VSS_SPROPID_SNAPSHOT_ATTRIBUTES
	PropertyCreationTimestamp  PropertyID = 12 // VSS_SPROPID_CREATION_TIMESTAMP
	PropertyStatus             PropertyID = 13 // VSS_SPROPID_STATUS
)

// ManagementObjectType is what a query of shadow storage returns (VSS_MGMT_OBJECT_TYPE, vsmgmt.idl).
type ManagementObjectType int32

// Kinds of management objects.
const (
	ManagementUnknown    ManagementObjectType = 0 // VSS_MGMT_OBJECT_UNKNOWN
	ManagementVolume     ManagementObjectType = 1 // VSS_MGMT_OBJECT_VOLUME
	ManagementDiffVolume ManagementObjectType = 2 // VSS_MGMT_OBJECT_DIFF_VOLUME: a volume that can hold shadow storage
	ManagementDiffArea   ManagementObjectType = 3 // VSS_MGMT_OBJECT_DIFF_AREA: one shadow storage association
)
