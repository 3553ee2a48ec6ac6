package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// phase is where a requester object stands (the columns of the session table of the requester's reference).
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

var phaseNames = [...]string{"new", "initialized", "set open", "prepared for backup", "copies created", "backup complete", "aborted", "creation failed",
	"initialized for restore", "pre-restore done", "post-restore done"}

// Session is one requester object (IVssBackupComponents): it serves one backup or one restore. Its methods may be called from many
// goroutines; while an asynchronous one runs, those that change the session are VSS_E_BAD_STATE.
type Session struct {
	k     *Coordinator
	Token string
	ID    vss.SessionID
	Owner uint32 // user id of who opened it
	life  context.Context
	end   context.CancelFunc

	mu         sync.Mutex
	phase      phase
	contextSet bool
	context    vss.Context
	backup     *document.Components // the Backup Components Document
	restore    restore              // what a restore has beyond it
	loaded     bool                 // it came from a requester, for an import
	stateSet   bool
	writers    writerSelection
	set        *creation
	idle       *time.Timer
	running    *Async
	asyncs     map[string]*Async
	owned      []vss.SnapshotSetID // sets that this session created or imported
	mounts     []string            // private mounts of MountSnapshot
	closed     bool
}

// OpenSession makes a requester object for a user.
func (k *Coordinator) OpenSession(owner uint32) *Session {
	life, end := context.WithCancel(context.Background())
	s := &Session{k: k, Token: vss.NewGUID().Plain(), ID: vss.SessionID{GUID: vss.NewGUID()}, Owner: owner, life: life, end: end, asyncs: map[string]*Async{}, backup: &document.Components{}}
	k.mu.Lock()
	k.sessions[s.Token] = s
	k.mu.Unlock()
	return s
}

// Session finds an open session of this user. Errors: VSS_E_BAD_STATE.
func (k *Coordinator) Session(token string, user uint32) (*Session, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sessions[token]
	if s == nil || s.Owner != user {
		return nil, vss.E("FindSession", vss.ErrBadState, errors.New("no such session")).Advise("the session ended; open a new one")
	}
	return s, nil
}

// begin checks that a call is legal in this phase. With change, no asynchronous operation may run. The caller holds mu.
func (s *Session) begin(op string, change bool, legal ...phase) error {
	why := ""
	switch {
	case s.closed:
		why = "the session is released"
	case change && s.running != nil && s.running.QueryStatus().Result == vss.SuccessAsyncPending:
		why = "an asynchronous operation is under way"
	case !slices.Contains(legal, s.phase):
		why = "the session is at: " + phaseNames[s.phase]
	default:
		return nil
	}
	return vss.E(op, vss.ErrBadState, errors.New(why))
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("InitializeForBackup", true, phaseNew); err != nil {
		return err
	}
	s.backup = &document.Components{}
	if len(doc) > 0 {
		d, err := document.Parse(doc)
		if err != nil {
			return vss.E("InitializeForBackup", vss.ErrInvalidXMLDocument, err)
		}
		s.backup, s.loaded = d, true
	}
	s.phase = phaseInit
	return nil
}

// SetContext is legal once and early. Errors: E_INVALIDARG, VSS_E_BAD_STATE.
func (s *Session) SetContext(c vss.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("SetContext", true, beforeSet...); err != nil {
		return err
	}
	if s.contextSet {
		return vss.E("SetContext", vss.ErrBadState, errors.New("the context was set before"))
	}
	if err := vss.CheckContext(c); err != nil {
		return err
	}
	s.context, s.contextSet = c, true
	return nil
}

// SetBackupState is due before PrepareForBackup. Errors: VSS_E_BAD_STATE, E_INVALIDARG.
func (s *Session) SetBackupState(selectComponents, bootable bool, t vss.BackupType, partial bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("SetBackupState", true, beforeDo...); err != nil {
		return err
	}
	if t < vss.BackupFull || t > vss.BackupOther {
		return vss.E("SetBackupState", vss.ErrInvalidArg, fmt.Errorf("backup type %d", t))
	}
	s.backup.SelectComponents, s.backup.BootableSystemState, s.backup.BackupType, s.backup.PartialFileSupport = selectComponents, bootable, t, partial
	s.stateSet = true
	return nil
}

func (s *Session) withWriters() bool { return !s.context.Has(vss.AttrNoWriters) }

// autoRelease says whether the session's copies go with it.
func (s *Session) autoRelease() bool { return !s.context.Has(vss.AttrNoAutoRelease) }

// StartSnapshotSet opens an empty set; no provider is told. Errors: VSS_E_SNAPSHOT_SET_IN_PROGRESS, VSS_E_BAD_STATE.
func (s *Session) StartSnapshotSet() (vss.SnapshotSetID, error) {
	const op = "StartSnapshotSet"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, beforeSet...); err != nil {
		return vss.SnapshotSetID{}, err
	}
	if s.context == vss.ContextAll {
		return vss.SnapshotSetID{}, vss.E(op, vss.ErrBadState, errors.New("VSS_CTX_ALL is for administration"))
	}
	c := &creation{k: s.k, s: s, id: vss.SnapshotSetID{GUID: vss.NewGUID()}, context: s.context, state: vss.StatePreparing, limit: s.k.HoldLimit, inUse: map[vss.LUNID]bool{}}
	s.k.mu.Lock()
	busy := s.k.creating != nil
	if !busy {
		s.k.creating = c
	}
	s.k.mu.Unlock()
	if busy {
		return vss.SnapshotSetID{}, vss.E(op, vss.ErrSnapshotSetInProgress, nil).Advise("wait for it (`vss create --wait 10m`), or try again later")
	}
	c.record = catalog.Creation{Set: c.id, Begun: time.Now()}
	if err := s.k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutCreation(c.record) }); err != nil {
		s.k.endCreation(c)
		return vss.SnapshotSetID{}, err
	}
	s.set, s.phase = c, phaseOpen
	s.backup.SnapshotSetID = c.id
	s.idle = time.AfterFunc(IdleLimit, s.expire)
	return c.id, nil
}

// expire aborts a set that was left open too long.
func (s *Session) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseOpen && s.phase != phasePrepared || s.running != nil && s.running.QueryStatus().Result == vss.SuccessAsyncPending {
		return
	}
	s.k.events.add(catalog.Event{Severity: "warning", What: "set-expired", SetID: s.set.id, Code: vss.ErrBadState,
		Message: fmt.Sprintf("the set was open for %v without DoSnapshotSet and was aborted", IdleLimit), Hint: "the requester is stuck; start the backup again"})
	s.abort(context.Background())
}

// endCreation gives the creation lock back.
func (k *Coordinator) endCreation(c *creation) {
	k.mu.Lock()
	if k.creating == c {
		k.creating = nil
	}
	k.mu.Unlock()
}

// DoSnapshotSet closes the set and makes the copies. A limit of 0 is the service's. Errors, at once: VSS_E_BAD_STATE,
// E_INVALIDARG; through the Async: those of the steps.
func (s *Session) DoSnapshotSet(limit time.Duration) (*Async, error) {
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
	if limit != 0 {
		if limit < 0 || limit > s.k.HoldLimit {
			return nil, vss.E(op, vss.ErrInvalidArg, fmt.Errorf("hold limit %v", limit)).Advise(fmt.Sprintf("0 < hold limit <= %v", s.k.HoldLimit))
		}
		s.set.limit = limit
	}
	s.idle.Stop()
	c := s.set
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		c.began = time.Now()
		err := c.run(ctx, a.progress)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.k.endCreation(c)
		if err != nil {
			s.phase = phaseFailed
			s.k.failed("creation-failed", c.id, "", err)
			return 0, err
		}
		s.phase = phaseCreated
		s.owned = append(s.owned, c.id)
		s.describeSet(c)
		return vss.OK, nil
	}), nil
}

// async starts an operation that excludes others. The caller holds mu.
func (s *Session) async(f func(context.Context, *Async) (vss.Code, error)) *Async {
	a := start(s.life, f)
	s.running = a
	s.asyncs[a.ID] = a
	return a
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

// AbortBackup ends what is under way; nothing under way is no error. Restores have no abort. Errors: VSS_E_BAD_STATE before initialization.
func (s *Session) AbortBackup(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("AbortBackup", false, everything...); err != nil {
		return err
	}
	if slices.Contains(restoring, s.phase) {
		return nil
	}
	if a := s.running; a != nil && a.QueryStatus().Result == vss.SuccessAsyncPending {
		s.mu.Unlock()
		a.Cancel()
		s.mu.Lock()
	}
	s.abort(ctx)
	return nil
}

// abort tells writers and drops an open set. The caller holds mu.
func (s *Session) abort(ctx context.Context) {
	switch s.phase {
	case phaseOpen, phasePrepared:
		_ = s.deliverAll(ctx, eventAbort, s.event(s.set))
		s.dropOpenSet(ctx)
		s.phase = phaseAborted
	case phaseCreated, phaseFailed:
		_ = s.deliverAll(ctx, eventAbort, s.event(s.set))
		s.phase = phaseAborted
	}
}

// dropOpenSet forgets a set before DoSnapshotSet: providers are not told, they learn from the next BeginPrepareSnapshot.
func (s *Session) dropOpenSet(context.Context) {
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

// SaveAsXML is the Backup Components Document as it is now. Errors: VSS_E_BAD_STATE before PrepareForBackup (in a context
// without writers: before DoSnapshotSet).
func (s *Session) SaveAsXML() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("SaveAsXML", true, savable...); err != nil && !s.loaded {
		return nil, err
	}
	return s.backup.XML()
}

// Close releases the requester object, by will or because its client is gone: an unfinished creation is aborted, copies of
// an auto-release context are deleted, writers hear BackupShutdown; those that were told PreRestore hear PostRestore.
func (s *Session) Close() {
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
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.phase == phaseOpen || s.phase == phasePrepared || s.phase == phaseFailed {
		s.abort(ctx)
	}
	if s.phase == phasePreRestored { // who stopped for a restore starts again, with what is there
		_ = s.deliverAll(ctx, eventPostRestore, s.event(nil))
	}
	s.k.unmountPrivate(s.mounts)
	if s.autoRelease() {
		for _, set := range s.owned {
			s.k.autoRelease(ctx, set)
		}
	}
	s.shutdownWriters(ctx)
	s.k.mu.Lock()
	delete(s.k.sessions, s.Token)
	s.k.mu.Unlock()
}

// AddToSnapshotSet resolves a volume, chooses its provider and has it begin. The provider is an id or a name; "" leaves the
// choice to the service. Source: AddToSnapshotSet.
func (s *Session) AddToSnapshotSet(ctx context.Context, volume, providerName string) (vss.SnapshotID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("AddToSnapshotSet", true, whileOpen...); err != nil {
		return vss.SnapshotID{}, err
	}
	id, err := s.set.add(ctx, volume, providerName)
	s.k.failed("volume-refused", s.set.id, volume, err)
	return id, err
}

// IsVolumeSupported says whether a copy of the volume is possible in principle. Errors: VSS_E_OBJECT_NOT_FOUND,
// VSS_E_BAD_STATE, VSS_E_PROVIDER_NOT_REGISTERED.
func (s *Session) IsVolumeSupported(ctx context.Context, volume, providerName string) (bool, error) {
	s.mu.Lock()
	err := s.begin("IsVolumeSupported", false, initialized...)
	c := s.context
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	return s.k.isVolumeSupported(ctx, volume, providerName, c)
}

// providersNamed are the candidates: all, or the one with this id or name. Errors: VSS_E_PROVIDER_NOT_REGISTERED.
func (k *Coordinator) providersNamed(op, name string) ([]boundProvider, error) {
	if name == "" {
		return k.providers, nil
	}
	for _, p := range k.providers {
		if strings.EqualFold(name, p.props.Name) || strings.EqualFold(strings.Trim(name, "{}"), p.props.ID.Plain()) {
			return []boundProvider{p}, nil
		}
	}
	return nil, vss.E(op, vss.ErrProviderNotRegistered, nil).On(name).Advise("`vss list providers` shows what is registered")
}
