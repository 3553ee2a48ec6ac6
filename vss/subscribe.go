package vss

// SubscribeMask says which events a writer receives (VSS_SUBSCRIBE_MASK, vswriter.h). Source: CVssWriter::Subscribe.
type SubscribeMask uint32

// Bits of the mask. The only legal mask is SubscribeDefault; the rest is reserved.
const (
	SubscribePostSnapshot  SubscribeMask = 0x1        // VSS_SM_POST_SNAPSHOT_FLAG
	SubscribeBackupEvents  SubscribeMask = 0x2        // VSS_SM_BACKUP_EVENTS_FLAG
	SubscribeRestoreEvents SubscribeMask = 0x4        // VSS_SM_RESTORE_EVENTS_FLAG
	SubscribeIOThrottling  SubscribeMask = 0x8        // VSS_SM_IO_THROTTLING_FLAG
	SubscribeAll           SubscribeMask = 0xffffffff // VSS_SM_ALL_FLAGS

	SubscribeDefault = SubscribeBackupEvents | SubscribeRestoreEvents
)

// AlternateWriterState says whether another writer stands in for this one (VSS_ALTERNATE_WRITER_STATE, vswriter.h).
type AlternateWriterState int32

// Alternate writers. Everything but NoAlternateWriter is reserved.
const (
	AlternateWriterUndefined AlternateWriterState = 0 // VSS_AWS_UNDEFINED
	NoAlternateWriter        AlternateWriterState = 1 // VSS_AWS_NO_ALTERNATE_WRITER: the default
	AlternateWriterExists    AlternateWriterState = 2 // VSS_AWS_ALTERNATE_WRITER_EXISTS
	ThisIsAlternateWriter    AlternateWriterState = 3 // VSS_AWS_THIS_IS_ALTERNATE_WRITER
)
