package vss

// SubscribeMask is the set of events that a writer receives (VSS_SUBSCRIBE_MASK, vswriter.h). Source:
// CVssWriter::Subscribe.
type SubscribeMask uint32

// Bits of the mask. The only valid mask is SubscribeDefault; the others are reserved.
const (
	SubscribePostSnapshot  SubscribeMask = 0x1        // VSS_SM_POST_SNAPSHOT_FLAG
	SubscribeBackupEvents  SubscribeMask = 0x2        // VSS_SM_BACKUP_EVENTS_FLAG
	SubscribeRestoreEvents SubscribeMask = 0x4        // VSS_SM_RESTORE_EVENTS_FLAG
	SubscribeIOThrottling  SubscribeMask = 0x8        // VSS_SM_IO_THROTTLING_FLAG
	SubscribeAll           SubscribeMask = 0xffffffff // VSS_SM_ALL_FLAGS

	SubscribeDefault = SubscribeBackupEvents | SubscribeRestoreEvents
)
