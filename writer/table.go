package writer

import "github.com/stillpoint-vss/stillpoint/vss"

// action is what an event does in a state.
type action int

const (
	refuse  action = iota // out of order: VSS_E_WRITERERROR_NONRETRYABLE, the writer isn't told, nothing changes
	skip                  // the writer isn't told, nothing changes; a failure it had is told again as a veto
	deliver               // the handler is called, and decides on the next state
	undo                  // Abort is called first, then the handler
	late                  // Thaw after the window: VSS_E_WRITERERROR_TIMEOUT, the writer isn't told
	ifFroze               // deliver where Freeze returned without an error and no Thaw has succeeded, else skip
	ifThawn               // deliver where Thaw succeeded and PostSnapshot hasn't come, else skip
)

// row is what the events do in one state, in the order of the handlers.
type row [handlerCount]action

// table is what a writer's host does with each event in each state. Source: writer's reference, state table per writer and
// session. It is more lenient in one place: a Thaw that is told twice is no error the second time (skip where the reference
// has a protocol error), since a coordinator that lost the answer must be able to ask again.
var table = map[vss.WriterState]row{
	//                                   prepare  prepare  freeze   thaw     post     complete shutdown abort    pre      post
	//                                   backup   snapshot                   snapshot                            restore  restore
	vss.WriterStable:                   {deliver, deliver, refuse, refuse, refuse, deliver, deliver, deliver, deliver, deliver},
	vss.WriterWaitingForFreeze:         {refuse, refuse, deliver, refuse, refuse, refuse, undo, deliver, refuse, refuse},
	vss.WriterWaitingForThaw:           {refuse, refuse, refuse, deliver, refuse, refuse, undo, deliver, refuse, refuse},
	vss.WriterWaitingForPostSnapshot:   {refuse, refuse, refuse, skip, deliver, refuse, deliver, deliver, refuse, refuse},
	vss.WriterWaitingForBackupComplete: {refuse, refuse, refuse, refuse, refuse, deliver, deliver, skip, refuse, refuse},
	vss.WriterFailedAtPrepareBackup:    cleanUp,
	vss.WriterFailedAtPrepareSnapshot:  cleanUp,
	vss.WriterFailedAtFreeze:           cleanUp,
	vss.WriterFailedAtThaw:             cleanUp,
	vss.WriterFailedAtPostSnapshot:     cleanUp,
	vss.WriterFailedAtBackupComplete:   {skip, skip, skip, skip, skip, skip, deliver, skip, skip, skip},
	vss.WriterFailedAtBackupShutdown:   {skip, skip, skip, skip, skip, skip, deliver, skip, skip, skip},
	vss.WriterFailedAtPreRestore:       {skip, skip, skip, skip, skip, skip, deliver, skip, skip, deliver},
	vss.WriterFailedAtPostRestore:      {skip, skip, skip, skip, skip, skip, deliver, skip, skip, skip},
}

// cleanUp is what is still told to a writer that failed.
var cleanUp = row{skip, skip, skip, ifFroze, ifThawn, skip, deliver, deliver, skip, skip}

// timedOut is the row of WAITING_FOR_THAW after the window has ended.
var timedOut = row{refuse, refuse, refuse, late, refuse, refuse, deliver, deliver, refuse, refuse}

// next is the state after a handler that went well, for those that are not failed already.
var next = [handlerCount]vss.WriterState{
	OnPrepareBackup: vss.WriterStable, OnPrepareSnapshot: vss.WriterWaitingForFreeze, OnFreeze: vss.WriterWaitingForThaw,
	OnThaw: vss.WriterWaitingForPostSnapshot, OnPostSnapshot: vss.WriterWaitingForBackupComplete, OnBackupComplete: vss.WriterStable,
	OnBackupShutdown: vss.WriterStable, OnAbort: vss.WriterStable, OnPreRestore: vss.WriterStable, OnPostRestore: vss.WriterStable,
}
