package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// StartSnapshotSet opens an empty set; providers aren't called. Errors: VSS_E_SNAPSHOT_SET_IN_PROGRESS,
// VSS_E_BAD_STATE.
func (s *Session) StartSnapshotSet() (id vss.SnapshotSetID, err error) {
	const op = "StartSnapshotSet"
	err = s.act(op, beforeSet, func() error {
		if s.context == vss.ContextAll {
			return vss.E(op, vss.ErrBadState, errors.New("VSS_CTX_ALL is for administration"))
		}
		c := newCreation(&s.k.Config, s.context, s.writers)
		s.k.mu.Lock()
		busy := s.k.creating != nil
		if !busy {
			s.k.creating = c
		}
		s.k.mu.Unlock()
		if busy {
			return vss.E(op, vss.ErrSnapshotSetInProgress, nil).
				Advise("wait for it (`vss create --wait 10m`), or try again later")
		}
		if err := c.store(); err != nil {
			s.k.endCreation(c)
			return err
		}
		s.set, s.phase, id = c, phaseOpen, c.id
		s.writers.Renew()
		s.document().SnapshotSetID, s.document().SnapshotSet = c.id, nil
		s.touch()
		s.idle = time.AfterFunc(IdleLimit, s.expire)
		return nil
	})
	return id, err
}

// openLimit is how long a user other than root may keep a set open: nobody else can create one meanwhile.
const openLimit = time.Hour

// expire aborts a set that was left open too long.
func (s *Session) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseOpen && s.phase != phasePrepared {
		return
	}
	quiet := time.Since(s.k.began) - time.Duration(s.called.Load())
	if s.busy() {
		quiet = 0
	}
	open := time.Since(s.set.record.Begun)
	if quiet < IdleLimit && (s.Owner == 0 || s.busy() || open < openLimit) {
		s.idle.Reset(IdleLimit - quiet)
		return
	}
	if s.phase == phasePrepared && len(s.set.copies) == 0 { // a backup without copies, which takes what it takes
		s.k.endCreation(s.set)
		return
	}
	s.k.Events.Add(events.SetExpired, events.Warning, catalog.Event{
		SetID: s.set.id, Code: vss.ErrBadState,
		Message: fmt.Sprintf("the set was open for %v, the last %v without a call, and was aborted",
			open.Round(time.Second), quiet.Round(time.Second)),
		Hint: "the requester is stuck; start the backup again",
	})
	s.abort(context.Background())
}

// creating returns VSS_E_BAD_STATE if the session's set is no longer the one that is being created. The caller
// holds mu.
func (s *Session) creating(op string) error {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	if s.k.creating == s.set {
		return nil
	}
	return vss.E(op, vss.ErrBadState, errors.New("the set was without volumes and calls for too long")).
		On(s.set.id.String()).Advise("start the backup again")
}

// AddToSnapshotSet finds a volume, chooses the provider of its copy and has it begin. The provider is an id or a
// name; "" leaves the choice to the service. Source: AddToSnapshotSet.
func (s *Session) AddToSnapshotSet(ctx context.Context, volume, providerName string) (id vss.SnapshotID, err error) {
	err = s.act("AddToSnapshotSet", whileOpen, func() error {
		if err := s.creating("AddToSnapshotSet"); err != nil {
			return err
		}
		candidates, err := s.k.named(ctx, "AddToSnapshotSet", providerName)
		if err == nil {
			id, err = s.set.add(ctx, volume, candidates, providerName != "")
		}
		s.k.Events.Failed(events.VolumeRefused, s.set.id, volume, err)
		return err
	})
	return id, err
}

// DoSnapshotSet closes the set and makes the copies. A limit of 0 is the service's. Errors, at once: VSS_E_BAD_STATE,
// E_INVALIDARG; through the Async: those of the steps.
func (s *Session) DoSnapshotSet(limit time.Duration) (a *Async, err error) {
	const op = "DoSnapshotSet"
	s.mu.Lock()
	defer s.mu.Unlock()
	legal := []phase{phasePrepared}
	if !s.withWriters() {
		legal = whileOpen
	}
	if err := s.begin(op, true, legal...); err != nil {
		return nil, err
	}
	if err := s.creating(op); err != nil {
		return nil, err
	}
	if limit < 0 || limit > s.k.HoldLimit {
		return nil, vss.E(op, vss.ErrInvalidArg, fmt.Errorf("hold limit %v", limit)).
			Advise(fmt.Sprintf("0 < hold limit <= %v", s.k.HoldLimit))
	}
	if limit != 0 {
		s.set.limit = limit
	}
	s.idle.Stop()
	c := s.set
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		defer s.k.endCreation(c)
		c.began = time.Now()
		err := c.run(ctx, s.k.table, a.Progress)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.phase = phaseFailed
			s.k.Events.Failed(events.CreationFailed, c.id, "", err)
			return 0, err
		}
		s.phase = phaseCreated
		s.own(c.id)
		s.describeSet(c)
		return vss.OK, nil
	}), nil
}

// describeSet puts the created set into the document: all that another host needs. The caller holds mu.
func (s *Session) describeSet(c *creation) {
	set := &document.SnapshotSet{ID: c.id, Context: c.context}
	for _, v := range c.copies {
		d := copies.ToDocument(&v.record)
		d.Label = v.vol.Label
		set.Snapshots = append(set.Snapshots, d)
	}
	s.document().SnapshotSet = set
}

// dropOpenSet forgets a set before DoSnapshotSet. Providers aren't called: they notice at the next
// BeginPrepareSnapshot.
func (s *Session) dropOpenSet() {
	c := s.set
	if c == nil {
		return
	}
	s.idle.Stop()
	if err := s.k.Catalog.Update(func(tx *catalog.Tx) error { return tx.RemoveCreation(c.id) }); err != nil {
		s.k.Logger.Error("open set not forgotten", "set", c.id, "error", err)
	}
	s.k.endCreation(c)
}
