package writer

import "github.com/stillpoint-vss/stillpoint/vss"

// action is the effect of an event in a state.
type action int

const (
	deny     action = iota // out of order: VSS_E_WRITERERROR_NONRETRYABLE; no handler is called, nothing changes
	skip                   // no handler is called, nothing changes; an earlier failure is reported again as a veto
	call                   // the handler is called, and its result decides the next state
	undo                   // Abort is called first, then the handler
	late                   // Thaw after the window: VSS_E_WRITERERROR_TIMEOUT; no handler is called
	ifFroze                // call if Freeze returned no error and no Thaw has succeeded since, else skip
	ifThawed               // call if Thaw succeeded and PostSnapshot has not come, else skip
)

// row holds the actions of all events in one state, in the order of the handlers.
type row [handlerCount]action

// table holds the action of each event in each state of a writer in a session. Source: writer's reference, state
// table per writer and session. It differs in one place: a second Thaw is skipped where the reference has a protocol
// error, because a coordinator that lost the first answer must be able to repeat the call.
var table = map[vss.WriterState]row{
	//                                   prep  prep  frz   thaw  post  done  shut  abrt  pre   post
	//                                   bkup  snap              snap        down        rest  rest
	vss.WriterUnknown:                  unknown,
	vss.WriterStable:                   {call, call, deny, deny, deny, call, call, call, call, call},
	vss.WriterWaitingForFreeze:         {deny, deny, call, deny, deny, deny, undo, call, deny, deny},
	vss.WriterWaitingForThaw:           {deny, deny, deny, call, deny, deny, undo, call, deny, deny},
	vss.WriterWaitingForPostSnapshot:   {deny, deny, deny, skip, call, deny, call, call, deny, deny},
	vss.WriterWaitingForBackupComplete: {deny, deny, deny, deny, deny, call, call, skip, deny, deny},
	vss.WriterFailedAtPrepareBackup:    cleanUp,
	vss.WriterFailedAtPrepareSnapshot:  cleanUp,
	vss.WriterFailedAtFreeze:           cleanUp,
	vss.WriterFailedAtThaw:             cleanUp,
	vss.WriterFailedAtPostSnapshot:     cleanUp,
	vss.WriterFailedAtBackupComplete:   {skip, skip, skip, skip, skip, skip, call, skip, skip, skip},
	vss.WriterFailedAtBackupShutdown:   {skip, skip, skip, skip, skip, skip, call, skip, skip, skip},
	vss.WriterFailedAtPreRestore:       {skip, skip, skip, skip, skip, skip, call, skip, skip, call},
	vss.WriterFailedAtPostRestore:      {skip, skip, skip, skip, skip, skip, call, skip, skip, skip},
}

// cleanUp is the row of a writer that failed during a backup: it still receives what undoes a freeze and ends the
// session.
var cleanUp = row{skip, skip, skip, ifFroze, ifThawed, skip, call, call, skip, skip}

// unknown is the row of a writer that did not respond: it still receives what ends a session.
var unknown = row{skip, skip, skip, ifFroze, ifThawed, skip, call, call, skip, call}

// timedOut is the row of WAITING_FOR_THAW after the window has ended.
var timedOut = row{deny, deny, deny, late, deny, deny, call, call, deny, deny}

// next holds the state of a writer after each handler succeeded, unless it had failed before.
var next = [handlerCount]vss.WriterState{
	OnPrepareBackup:   vss.WriterStable,
	OnPrepareSnapshot: vss.WriterWaitingForFreeze,
	OnFreeze:          vss.WriterWaitingForThaw,
	OnThaw:            vss.WriterWaitingForPostSnapshot,
	OnPostSnapshot:    vss.WriterWaitingForBackupComplete,
	OnBackupComplete:  vss.WriterStable,
	OnBackupShutdown:  vss.WriterStable,
	OnAbort:           vss.WriterStable,
	OnPreRestore:      vss.WriterStable,
	OnPostRestore:     vss.WriterStable,
}

// Next returns the state of a writer after the handler succeeded, unless the writer had failed before.
func (h Handler) Next() vss.WriterState { return next[h] }

// Due reports whether the handler is called in a state of a session. Froze means that Freeze succeeded and no Thaw has
// since, thawed that Thaw succeeded and PostSnapshot has not come.
func (h Handler) Due(state vss.WriterState, froze, thawed bool) bool {
	switch table[state][h] {
	case call, undo:
		return true
	case ifFroze:
		return froze
	case ifThawed:
		return thawed
	}
	return false
}
