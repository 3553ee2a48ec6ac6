package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Call is a call that changes the state of a shadow copy set at a provider.
type Call int

// The calls, in the order of a creation. CallBeginOther is CallBegin for another set than the present one, which was
// abandoned.
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

// String returns the name of the method.
func (c Call) String() string { return callNames[c] }

// action is the effect of a call in a state.
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

// table has the action for each call in each state.
//
// It differs from the vendor's sample provider in one place: there a set is created, and kept, after
// PostCommitSnapshots; here after PostFinalCommitSnapshots. Source: shadow-copy-creation-for-providers,
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

// steps has the states during and after each step.
var steps = map[Call]struct{ during, after vss.SnapshotState }{
	CallEndPrepare:      {vss.StateProcessingPrepare, vss.StatePrepared},
	CallPreCommit:       {vss.StateProcessingPreCommit, vss.StatePreCommitted},
	CallCommit:          {vss.StateProcessingCommit, vss.StateCommitted},
	CallPostCommit:      {vss.StateProcessingPostCommit, vss.StatePostCommitted},
	CallPreFinalCommit:  {vss.StateProcessingPreFinalCommit, vss.StatePreFinalCommitted},
	CallPostFinalCommit: {vss.StateProcessingPostFinalCommit, vss.StateCreated},
}

// Machine enforces the order of calls. It knows one set, the one that is being created, and runs the provider's work
// for the calls that are due. Its methods may be called from multiple goroutines; only Begin and the first step of
// the same set must not overlap, which the service ensures.
//
// A call out of order aborts the set. Its work is undone at once, unless its volumes may be held at that moment:
// undoing writes, so that is done by the next Abort or Begin. The same applies after a step that failed.
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

// NewMachine returns a machine. Drop undoes everything that was done for a set, including copies that are taken;
// after a failure it may be called again. When a new set begins, drop is called for the former one and its error is
// ignored, so drop must log it.
func NewMachine(drop func(ctx context.Context, set vss.SnapshotSetID) error) *Machine {
	return &Machine{drop: drop}
}

// Now returns the set that the machine knows, and its state.
func (m *Machine) Now() (vss.SnapshotSetID, vss.SnapshotState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.set, m.state
}

// Pending reports whether a set is being created, or aborted and not undone yet: OnUnload may refuse then.
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

// Begin adds a copy to a set, or begins a set, by calling start. If start fails, the copy is not in the set, and a set
// without other copies is aborted. Errors: those of start; VSS_E_PROVIDER_VETO out of order.
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
			_ = m.dropNow(ctx, set) // start's error counts; the next Abort or Begin undoes what is left
		}
		return err
	}
}

// Step makes one of the steps from EndPrepare to PostFinalCommit by calling run. The context of run in EndPrepare also
// ends when the set is aborted. Errors: those of run; VSS_E_OBJECT_NOT_FOUND for an unknown set; VSS_E_PROVIDER_VETO
// out of order, or if the set was aborted meanwhile.
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
			Advise("create the set again")
	case err != nil:
		m.state = vss.StateAborted
	default:
		m.state = s.after
		m.dirty = m.state != vss.StateCreated
	}
	return err
}

// Abort undoes a set that is not created. It cancels EndPrepare, and waits for any other step to end. Errors: those of
// drop, after which Abort may be called again; VSS_E_OBJECT_NOT_FOUND for an unknown set.
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

// giveUpLocked marks the set as aborted and cancels EndPrepare. The caller holds mu.
func (m *Machine) giveUpLocked() {
	if m.state == vss.StateProcessingPrepare {
		m.cancel()
	}
	m.state = vss.StateAborted
}

// giveUp returns the error for a call out of order, and aborts the set. The caller holds mu, which giveUp unlocks, and
// work if working is set.
func (m *Machine) giveUp(ctx context.Context, e Call, set vss.SnapshotSetID, a action, working bool) error {
	was, running := m.state, m.running
	if a == refuse {
		m.giveUpLocked()
	}
	m.mu.Unlock()
	err := error(
		vss.E(e.String(), vss.ErrProviderVeto, fmt.Errorf("the set is %s", was)).On(set.String()).
			Advise("the calls came out of order; create the set again"),
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

// dropNow undoes the work of an aborted set. The caller holds work.
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
