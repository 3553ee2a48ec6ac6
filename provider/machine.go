package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Call is a call that moves a shadow copy set at a provider.
type Call int

// The calls, in the order of a creation. Begin of another set than the present one is a call of its own: the old set
// is dead.
const (
	CallBegin Call = iota
	CallBeginOther
	CallEndPrepare
	CallPreCommit
	CallCommit
	CallPostCommit
	CallPreFinalCommit
	CallPostFinalCommit
	CallAbort
	callCount
)

var callNames = [callCount]string{
	"BeginPrepareSnapshot", "BeginPrepareSnapshot", "EndPrepareSnapshots", "PreCommitSnapshots", "CommitSnapshots",
	"PostCommitSnapshots", "PreFinalCommitSnapshots", "PostFinalCommitSnapshots", "AbortSnapshots",
}

// String is the name of the call's method.
func (c Call) String() string { return callNames[c] }

// action is what a call does in a state.
type action int

const (
	refuse  action = iota // out of order: VSS_E_PROVIDER_VETO, and the set is given up
	begin                 // a first copy: preparing
	add                   // one copy more
	step                  // the next state, by way of its processing state
	missing               // VSS_E_OBJECT_NOT_FOUND, nothing changes
	undo                  // the set's work is undone: aborted
	await                 // first the step under way ends, then the call is looked at anew
	replace               // the old set's work is undone, then begin
	keep                  // nothing to do, nothing changes
	reject                // VSS_E_PROVIDER_VETO, nothing changes: the copies are finished
)

// table is what a provider does with each call in each state.
//
// It differs from the sample provider in one place: the sample takes a set for created after PostCommitSnapshots and
// keeps it from there on; here that is so after PostFinalCommitSnapshots. Source: shadow-copy-creation-for-providers,
// VSS_SNAPSHOT_STATE.
var table = map[vss.SnapshotState][callCount]action{
	//                                  begin   other    end      pre      commit   post     prefinal postfinal abort
	vss.StateUnknown:                   {begin, begin, missing, missing, missing, missing, missing, missing, missing},
	vss.StatePreparing:                 {add, replace, step, refuse, refuse, refuse, refuse, refuse, undo},
	vss.StateProcessingPrepare:         {refuse, replace, refuse, refuse, refuse, refuse, refuse, refuse, undo},
	vss.StatePrepared:                  {refuse, replace, refuse, step, refuse, refuse, refuse, refuse, undo},
	vss.StateProcessingPreCommit:       {refuse, await, refuse, refuse, refuse, refuse, refuse, refuse, await},
	vss.StatePreCommitted:              {refuse, replace, refuse, refuse, step, refuse, refuse, refuse, undo},
	vss.StateProcessingCommit:          {refuse, await, refuse, refuse, refuse, refuse, refuse, refuse, await},
	vss.StateCommitted:                 {refuse, replace, refuse, refuse, refuse, step, refuse, refuse, undo},
	vss.StateProcessingPostCommit:      {refuse, await, refuse, refuse, refuse, refuse, refuse, refuse, await},
	vss.StatePostCommitted:             {refuse, replace, refuse, refuse, refuse, refuse, step, refuse, undo},
	vss.StateProcessingPreFinalCommit:  {refuse, await, refuse, refuse, refuse, refuse, refuse, refuse, await},
	vss.StatePreFinalCommitted:         {refuse, replace, refuse, refuse, refuse, refuse, refuse, step, undo},
	vss.StateProcessingPostFinalCommit: {reject, await, reject, reject, reject, reject, reject, reject, await},
	vss.StateCreated:                   {reject, begin, reject, reject, reject, reject, reject, reject, keep},
	vss.StateAborted:                   {begin, begin, missing, missing, missing, missing, missing, missing, keep},
}

// steps are the states that each step goes through and ends in.
var steps = map[Call]struct{ during, after vss.SnapshotState }{
	CallEndPrepare:      {vss.StateProcessingPrepare, vss.StatePrepared},
	CallPreCommit:       {vss.StateProcessingPreCommit, vss.StatePreCommitted},
	CallCommit:          {vss.StateProcessingCommit, vss.StateCommitted},
	CallPostCommit:      {vss.StateProcessingPostCommit, vss.StatePostCommitted},
	CallPreFinalCommit:  {vss.StateProcessingPreFinalCommit, vss.StatePreFinalCommitted},
	CallPostFinalCommit: {vss.StateProcessingPostFinalCommit, vss.StateCreated},
}

// Machine keeps a provider to the order of calls. It knows one set, the one that is being created, and calls the
// provider's work when it is due; all methods may be called from many goroutines. Begin and the first step of a set
// may not overlap, which the coordinator sees to.
//
// A set that is given up becomes aborted at once. Its work is undone at once, too, unless its volumes may be held at
// that moment: undoing writes, so it is left to the Abort or Begin that follows. The same goes for a step that
// failed.
type Machine struct {
	drop func(ctx context.Context, set vss.SnapshotSetID) error

	work sync.Mutex // one Begin, Abort or drop at a time; never held by a step

	mu      sync.Mutex // the fields below
	set     vss.SnapshotSetID
	state   vss.SnapshotState
	dirty   bool               // the set has work that a drop must undo
	running chan struct{}      // closed when the step under way is over; nil when none is
	cancel  context.CancelFunc // of the step under way
}

// NewMachine makes a machine. Drop undoes all that was done for a set, committed copies included, and may be called
// again after it failed. A drop that nobody asked for (the old set, when a new one begins) has nobody to report to:
// it must log.
func NewMachine(drop func(ctx context.Context, set vss.SnapshotSetID) error) *Machine {
	return &Machine{drop: drop}
}

// Now returns the set in progress and its state.
func (m *Machine) Now() (vss.SnapshotSetID, vss.SnapshotState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.set, m.state
}

// Pending says whether a set is neither created nor gone: a reason to refuse OnUnload.
func (m *Machine) Pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dirty || m.running != nil
}

func (m *Machine) look(set vss.SnapshotSetID, same, other Call) action {
	if m.state == vss.StateUnknown || m.set == set {
		return table[m.state][same]
	}
	return table[m.state][other]
}

// Begin takes one more copy into a set, or begins a set, by calling start. When start fails, the copy is not in the
// set; a set that has no other is aborted. Errors: those of start; VSS_E_PROVIDER_VETO out of order.
func (m *Machine) Begin(ctx context.Context, set vss.SnapshotSetID, start func(ctx context.Context) error) error {
	m.work.Lock()
	defer m.work.Unlock()
	for {
		m.mu.Lock()
		a := m.look(set, CallBegin, CallBeginOther)
		running := m.running
		switch {
		case a == await || a == begin && running != nil: // the step of a set that was given up goes first
			m.mu.Unlock()
			if err := wait(ctx, CallBegin, set, running); err != nil {
				return err
			}
			continue
		case a == refuse || a == reject:
			return m.giveUp(ctx, CallBegin, set, a, true)
		case a == replace:
			m.giveUpLocked()
			m.mu.Unlock()
			if running != nil {
				<-running
			}
			m.mu.Lock()
		}
		old, dirty := m.set, m.dirty
		if a != add {
			m.set, m.state, m.dirty = set, vss.StatePreparing, true
		}
		m.mu.Unlock()
		if a != add && dirty {
			_ = m.drop(context.WithoutCancel(ctx), old) // it was logged; the new set doesn't care
		}
		err := start(ctx)
		if err != nil && a != add {
			m.mu.Lock()
			m.state = vss.StateAborted
			m.mu.Unlock()
			_ = m.dropNow(ctx, set) // start's error counts; what this leaves goes with the next Abort or Begin
		}
		return err
	}
}

// Step does one of the steps from EndPrepare to PostFinalCommit by calling run, whose context also ends when the set is
// aborted while it waits in EndPrepare. Errors: those of run; VSS_E_OBJECT_NOT_FOUND; VSS_E_PROVIDER_VETO out of
// order or aborted meanwhile.
func (m *Machine) Step(ctx context.Context, e Call, set vss.SnapshotSetID, run func(ctx context.Context) error) error {
	m.mu.Lock()
	a := missing
	if m.set == set {
		a = table[m.state][e]
	}
	switch a {
	case missing:
		m.mu.Unlock()
		return unknownSet(e.String(), set)
	case refuse, reject:
		return m.giveUp(ctx, e, set, a, false)
	}
	s := steps[e]
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	m.state, m.running, m.cancel = s.during, done, cancel
	m.mu.Unlock()
	defer cancel()

	err := run(ctx)

	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.cancel = nil, nil
	close(done)
	switch {
	case m.state != s.during: // given up meanwhile
		return vss.E(e.String(), vss.ErrProviderVeto, errors.New("the set was given up meanwhile")).On(set.String()).
			Advise("create the set anew")
	case err != nil:
		m.state = vss.StateAborted
	default:
		m.state = s.after
		m.dirty = m.state != vss.StateCreated
	}
	return err
}

// Abort undoes a set that isn't created; a waiting EndPrepare is cancelled at once, any other step ends first.
// Errors: those of drop, and Abort may be repeated; VSS_E_OBJECT_NOT_FOUND.
func (m *Machine) Abort(ctx context.Context, set vss.SnapshotSetID) error {
	m.work.Lock()
	defer m.work.Unlock()
	for {
		m.mu.Lock()
		a := missing
		if m.set == set {
			a = table[m.state][CallAbort]
		}
		running := m.running
		switch {
		case a == missing:
			m.mu.Unlock()
			return unknownSet(CallAbort.String(), set)
		case a == await || a == keep && running != nil:
			m.mu.Unlock()
			if err := wait(ctx, CallAbort, set, running); err != nil {
				return err
			}
			continue
		case a == undo:
			m.giveUpLocked()
		}
		m.mu.Unlock()
		if running != nil {
			<-running
		}
		return m.dropNow(ctx, set)
	}
}

// giveUpLocked makes the set aborted and cancels a waiting EndPrepare. The caller holds mu.
func (m *Machine) giveUpLocked() {
	if m.state == vss.StateProcessingPrepare {
		m.cancel()
	}
	m.state = vss.StateAborted
}

// giveUp answers a call that is out of order. The caller holds mu, which it gives back, and maybe work.
func (m *Machine) giveUp(ctx context.Context, e Call, set vss.SnapshotSetID, a action, working bool) error {
	was, running := m.state, m.running
	if a == refuse {
		m.giveUpLocked()
	}
	m.mu.Unlock()
	err := error(
		vss.E(e.String(), vss.ErrProviderVeto, fmt.Errorf("the set is %s", was)).On(set.String()).
			Advise("the calls came out of order; create the set anew"),
	)
	switch was {
	case vss.StatePreparing, vss.StatePrepared, vss.StatePostCommitted, vss.StatePreFinalCommitted:
	case vss.StateProcessingPrepare:
		<-running
	default:
		return err // its volumes may be held, or its step writes: the next Abort or Begin undoes the set
	}
	if !working {
		m.work.Lock()
		defer m.work.Unlock()
	}
	return errors.Join(err, m.dropNow(ctx, set))
}

// dropNow undoes what an aborted set left behind. The caller holds work.
func (m *Machine) dropNow(ctx context.Context, set vss.SnapshotSetID) error {
	m.mu.Lock()
	due := m.set == set && m.state == vss.StateAborted && m.dirty
	m.mu.Unlock()
	if !due {
		return nil
	}
	err := m.drop(context.WithoutCancel(ctx), set) // must be complete even if the caller gives up
	if err == nil {
		m.mu.Lock()
		m.dirty = false
		m.mu.Unlock()
	}
	return err
}

func unknownSet(op string, set vss.SnapshotSetID) error {
	return vss.E(op, vss.ErrObjectNotFound, errors.New("no such set is being created")).On(set.String())
}

func wait(ctx context.Context, e Call, set vss.SnapshotSetID, running <-chan struct{}) error {
	if running == nil {
		return nil
	}
	select {
	case <-running:
		return nil
	case <-ctx.Done():
		return vss.E(e.String(), vss.ErrBadState, fmt.Errorf("a step of the set didn't end: %w", ctx.Err())).
			On(set.String()).Advise("call it again")
	}
}
