package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/background"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// phase is the state of a requester object (the columns of the session table of the requester's reference).
type phase int

const (
	phaseNew          phase = iota // before InitializeForBackup
	phaseInit                      // initialized
	phaseOpen                      // a set is open
	phasePrepared                  // PrepareForBackup done
	phaseCreated                   // DoSnapshotSet done
	phaseComplete                  // BackupComplete done
	phaseAborted                   // AbortBackup
	phaseFailed                    // DoSnapshotSet failed
	phaseRestore                   // InitializeForRestore done
	phasePreRestored               // PreRestore done
	phasePostRestored              // PostRestore done
)

var phaseNames = [...]string{
	"new", "initialized", "set open", "prepared for backup", "copies created", "backup complete", "aborted",
	"creation failed", "initialized for restore", "pre-restore done", "post-restore done",
}

// Async is an operation of a session that runs in the background.
type Async = background.Operation

// Session is one requester object (IVssBackupComponents): it serves one backup or one restore. Its methods may be
// called from many goroutines; while an asynchronous one runs, those that change the session return VSS_E_BAD_STATE.
type Session struct {
	k     *Coordinator
	Token string
	ID    vss.SessionID
	Owner uint32 // user id of the requester
	life  context.Context
	end   context.CancelFunc

	mu         sync.Mutex
	phase      phase
	contextSet bool
	context    vss.Context
	loaded     bool // the document came from a requester, for an import
	stateSet   bool
	writers    *writerset.Set // and the Backup Components Document
	set        *creation
	idle       *time.Timer
	called     atomic.Int64 // when the last call began, since the coordinator was made
	running    *Async
	asyncs     map[string]*Async
	owned      []vss.SnapshotSetID // sets that this session created or imported
	mounts     []string            // private mounts of MountSnapshot
	closed     bool
}

// OpenSession makes a requester object for a user.
func (k *Coordinator) OpenSession(owner uint32) *Session {
	life, end := context.WithCancel(context.Background())
	id := vss.SessionID{GUID: vss.NewGUID()}
	s := &Session{
		k: k, Token: vss.NewGUID().Plain(), ID: id, Owner: owner, life: life, end: end, asyncs: map[string]*Async{},
		writers: writerset.New(k.Config.writers(), id),
	}
	k.mu.Lock()
	k.sessions[s.Token] = s
	k.mu.Unlock()
	return s
}

// maxSessions is how many sessions a user other than root may have open. Each can hold a document of 16 MiB in memory.
const maxSessions = 16

// Admit is OpenSession for a user that may have a limited number of them. Errors: VSS_E_BAD_STATE.
func (k *Coordinator) Admit(owner uint32) (*Session, error) {
	k.admission.Lock()
	defer k.admission.Unlock()
	k.mu.Lock()
	open := 0
	for _, s := range k.sessions {
		if s.Owner == owner {
			open++
		}
	}
	k.mu.Unlock()
	if owner != 0 && open >= maxSessions {
		return nil, vss.E("OpenSession", vss.ErrBadState, fmt.Errorf("user %d has %d sessions open", owner, open)).
			Advise("end the other programs of this user that request copies, or wait for them")
	}
	return k.OpenSession(owner), nil
}

// Session finds an open session of this user. Errors: VSS_E_BAD_STATE.
func (k *Coordinator) Session(token string, user uint32) (*Session, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sessions[token]
	if s == nil || s.Owner != user {
		return nil, vss.E("FindSession", vss.ErrBadState, errors.New("no such session")).
			Advise("the session ended; open a new one")
	}
	s.touch()
	return s, nil
}

// touch records that the session is used.
func (s *Session) touch() { s.called.Store(int64(time.Since(s.k.began))) }

// Done is closed when the session is.
func (s *Session) Done() <-chan struct{} { return s.life.Done() }

// begin checks that a call is legal in this phase. With change, no asynchronous operation may run. The caller holds mu.
func (s *Session) begin(op string, change bool, legal ...phase) error {
	why := ""
	switch {
	case s.closed:
		why = "the session is released"
	case change && s.busy():
		why = "an asynchronous operation is running"
	case !slices.Contains(legal, s.phase):
		why = "the session is at: " + phaseNames[s.phase]
	default:
		return nil
	}
	return vss.E(op, vss.ErrBadState, errors.New(why))
}

func (s *Session) busy() bool {
	return s.running != nil && s.running.QueryStatus().Result == vss.SuccessAsyncPending
}

// look checks that a call that changes nothing is legal in this phase, and returns the session's context.
func (s *Session) look(op string, legal []phase) (vss.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.context, s.begin(op, false, legal...)
}

// act calls f if a call that changes the session is legal in this phase.
func (s *Session) act(op string, legal []phase, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, legal...); err != nil {
		return err
	}
	return f()
}

var (
	initialized  = []phase{phaseInit, phaseOpen, phasePrepared, phaseCreated, phaseComplete, phaseAborted, phaseFailed}
	beforeSet    = []phase{phaseInit}
	whileOpen    = []phase{phaseOpen, phasePrepared}
	beforeDo     = []phase{phaseInit, phaseOpen}
	savable      = append([]phase{phasePrepared, phaseCreated, phaseComplete, phaseAborted, phaseFailed}, restoring...)
	completeable = []phase{phasePrepared, phaseCreated}
	restoring    = []phase{phaseRestore, phasePreRestored, phasePostRestored}
	everything   = append(initialized[:len(initialized):len(initialized)], restoring...) // a backup or a restore
)

// InitializeForBackup is the first call. The document is empty, or for an import the one that the creating host saved.
// Errors: VSS_E_BAD_STATE, VSS_E_INVALID_XML_DOCUMENT.
func (s *Session) InitializeForBackup(doc []byte) error {
	return s.act("InitializeForBackup", []phase{phaseNew}, func() error {
		if len(doc) > 0 {
			if err := s.writers.Load(doc); err != nil {
				return err
			}
			s.loaded = true
		}
		s.phase = phaseInit
		return nil
	})
}

// SetContext is legal once, before StartSnapshotSet. Errors: E_INVALIDARG, VSS_E_BAD_STATE.
func (s *Session) SetContext(c vss.Context) error {
	return s.act("SetContext", beforeSet, func() error {
		if s.contextSet {
			return vss.E("SetContext", vss.ErrBadState, errors.New("the context was set before"))
		}
		if err := vss.CheckContext(c); err != nil {
			return err
		}
		s.context, s.contextSet = c, true
		return nil
	})
}

// SetBackupState must be called before PrepareForBackup. Errors: VSS_E_BAD_STATE, E_INVALIDARG.
func (s *Session) SetBackupState(selectComponents, bootable bool, t vss.BackupType, partial bool) error {
	return s.act("SetBackupState", beforeDo, func() error {
		if t < vss.BackupFull || t > vss.BackupOther {
			return vss.E("SetBackupState", vss.ErrInvalidArg, fmt.Errorf("backup type %d", t))
		}
		d := s.document()
		if !selectComponents {
			d.Writers = nil // without component mode the document has no components
		}
		d.SelectComponents, d.BootableSystemState = selectComponents, bootable
		d.BackupType, d.PartialFileSupport = t, partial
		s.stateSet = true
		return nil
	})
}

// document is the Backup Components Document. The caller holds mu.
func (s *Session) document() *document.Components { return s.writers.Document() }

func (s *Session) withWriters() bool { return !s.context.Has(vss.AttrNoWriters) }

// autoRelease reports whether the session's copies are deleted with it.
func (s *Session) autoRelease() bool { return !s.context.Has(vss.AttrNoAutoRelease) }

// target describes to the writers what the session is about. The caller holds mu.
func (s *Session) target() writerset.Target {
	if s.set == nil {
		return writerset.Target{Context: s.context}
	}
	return s.set.target()
}

// async starts an operation that excludes others. The caller holds mu.
func (s *Session) async(f func(context.Context, *Async) (vss.Code, error)) *Async {
	a := background.Start(s.life, s.k.Logger, f)
	s.running = a
	s.asyncs[a.ID] = a
	return a
}

// own records that the session created or imported a set. The caller holds mu.
func (s *Session) own(set vss.SnapshotSetID) {
	s.owned = append(s.owned, set)
	s.k.mu.Lock()
	s.k.owned[set] = true
	s.k.mu.Unlock()
}

// Async finds an operation of this session. Errors: VSS_E_OBJECT_NOT_FOUND.
func (s *Session) Async(id string) (*Async, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.asyncs[id]; a != nil {
		return a, nil
	}
	return nil, vss.E("FindAsync", vss.ErrObjectNotFound, nil).On(id)
}

// AbortBackup ends the creation of the session, if there is one. Restores have no abort. Errors: VSS_E_BAD_STATE before
// initialization.
func (s *Session) AbortBackup(ctx context.Context) error {
	s.mu.Lock()
	err := s.begin("AbortBackup", false, everything...)
	running := s.running
	restores := slices.Contains(restoring, s.phase)
	s.mu.Unlock()
	if err != nil || restores {
		return err
	}
	if running != nil {
		running.Cancel()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort(ctx)
	return nil
}

// abort sends Abort to the writers and drops an open set. The caller holds mu.
func (s *Session) abort(ctx context.Context) {
	switch s.phase {
	case phaseOpen, phasePrepared:
		s.writers.Abort(ctx, s.target())
		s.dropOpenSet()
		s.phase = phaseAborted
	case phaseCreated, phaseFailed:
		s.writers.Abort(ctx, s.target())
		s.phase = phaseAborted
	}
}

// SaveAsXML returns the Backup Components Document as it is now. Errors: VSS_E_BAD_STATE before PrepareForBackup (in a
// context without writers: before DoSnapshotSet).
func (s *Session) SaveAsXML() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("SaveAsXML", true, savable...); err != nil && !s.loaded {
		return nil, err
	}
	return s.document().XML()
}

// Close releases the requester object, on request or because its client disconnected: an unfinished creation is
// aborted, copies of an auto-release context are deleted, writers receive BackupShutdown; those that received
// PreRestore receive PostRestore.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s.close(ctx)
}

// close is Close; what it calls gets ctx.
func (s *Session) close(ctx context.Context) {
	s.end() // cancels what runs
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	running := s.running
	s.mu.Unlock()
	if running != nil {
		<-running.Done()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.phase == phaseOpen || s.phase == phasePrepared || s.phase == phaseFailed {
		s.abort(ctx)
	}
	if s.phase == phasePreRestored { // writers that stopped for the restore start again, with the files that are there
		s.writers.PostRestore(ctx, s.target())
	}
	s.k.Host.UnmountPrivate(s.mounts)
	if s.autoRelease() {
		for _, set := range s.owned {
			s.k.autoRelease(ctx, set)
		}
	}
	s.writers.Shutdown(ctx, s.target())
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	delete(s.k.sessions, s.Token)
	for _, set := range s.owned {
		delete(s.k.owned, set)
	}
}
