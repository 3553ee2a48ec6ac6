// Package providers lets providers join that other processes serve.
//
// A provider joins by listening on a socket in RUN/providers/, or in RUN/providers/ACCOUNT/ for an account that the
// configuration allows ([providers] accounts); see package sockets. It leaves when its process ends or its socket is
// removed. Nothing has to be registered, and nothing is polled.
package providers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/sockets"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	connectLimit = 2 * time.Second  // for a provider to answer with its properties
	retryAfter   = 10 * time.Second // before a provider that failed or was refused is tried again
)

// Coordinator is where providers join.
type Coordinator interface {
	// AddProvider loads a provider: it calls its OnLoad. Errors: VSS_E_PROVIDER_ALREADY_REGISTERED.
	AddProvider(ctx context.Context, p provider.Provider) error
	// RemoveProvider releases a provider; dead means that its process has ended. Errors: VSS_E_PROVIDER_IN_USE, never
	// for a dead one.
	RemoveProvider(ctx context.Context, id vss.ProviderID, dead bool) error
}

// News is something that the registry reports.
type News struct {
	Kind     NewsKind
	Provider string // its name, "" if it isn't known
	ID       vss.ProviderID
	Path     string // of the socket
	Err      error  // of Refused
}

// NewsKind is the kind of News.
type NewsKind int

// The kinds of news.
const (
	Joined  NewsKind = iota // a provider joined
	Left                    // its socket was removed, and it was released
	Died                    // its process ended
	Refused                 // a process behind a socket can't be a provider; Err has the reason
)

// Config holds the parameters of New.
type Config struct {
	RunDir   string
	Accounts []string   // accounts, besides root, whose processes may be providers
	Report   func(News) // receives news, one at a time
	Logger   *slog.Logger
}

// Registry finds providers. Its methods may be called from multiple goroutines.
type Registry struct {
	folders *sockets.Folders
	report  func(News)
	log     *slog.Logger
	life    context.Context
	end     context.CancelFunc
	work    sync.WaitGroup

	reporting sync.Mutex // one report at a time

	mu          sync.Mutex // the fields below
	coordinator Coordinator
	members     map[sockets.Socket]*member
	refused     map[string]string // by path: the reason that was reported last
	joined      map[vss.ProviderID]*binding
	freed       chan struct{} // closed when a provider was removed
	closed      bool
}

// binding is a provider that has joined.
type binding struct {
	provider.Remote
	props   provider.Properties
	removed chan struct{} // closed when it was removed from the coordinator
}

// member is the process behind a socket.
type member struct {
	socket sockets.Socket
	again  bool          // a former attempt failed: Look doesn't wait for this one
	ready  chan struct{} // closed when it has joined or failed
	leave  chan struct{} // closed when its socket was removed
}

// New creates the folders and the registry. Errors: E_ACCESSDENIED, VSS_E_UNEXPECTED.
func New(c Config) (*Registry, error) {
	folders, err := sockets.Open("StartProviders", filepath.Join(c.RunDir, "providers"), c.Accounts, c.Logger)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		folders: folders, report: c.Report, log: c.Logger,
		members: map[sockets.Socket]*member{}, refused: map[string]string{},
		joined: map[vss.ProviderID]*binding{}, freed: make(chan struct{}),
	}
	r.life, r.end = context.WithCancel(context.Background())
	return r, nil
}

// Start lets providers join the coordinator from now on. It returns when those that are there already have joined, or
// have not answered in time. Errors: VSS_E_UNEXPECTED.
func (r *Registry) Start(ctx context.Context, c Coordinator) error {
	r.mu.Lock()
	r.coordinator = c
	r.mu.Unlock()
	done, err := r.folders.Watch(r.life, func() { r.refresh() })
	if err != nil {
		return err
	}
	r.work.Go(func() { <-done })
	r.Look(ctx)
	return nil
}

// Look returns when every provider whose socket exists now has joined or failed. It doesn't wait for one that failed
// before.
func (r *Registry) Look(ctx context.Context) {
	for _, m := range r.refresh() {
		if m.again {
			continue
		}
		select {
		case <-m.ready:
		case <-ctx.Done():
			return
		}
	}
}

// refresh updates the members from the sockets that exist now and returns them.
func (r *Registry) refresh() []*member {
	seen := r.folders.Scan()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.coordinator == nil {
		return nil
	}
	for s, m := range r.members {
		if !slices.Contains(seen, s) {
			close(m.leave)
			delete(r.members, s)
		}
	}
	for path := range r.refused {
		if !slices.ContainsFunc(seen, func(s sockets.Socket) bool { return s.Path == path }) {
			delete(r.refused, path)
		}
	}
	var all []*member
	for _, s := range seen {
		if r.members[s] == nil {
			r.start(s, false)
		}
		all = append(all, r.members[s])
	}
	return all
}

// start begins to connect to a socket. Registry.mu is held.
func (r *Registry) start(s sockets.Socket, again bool) {
	m := &member{socket: s, again: again, ready: make(chan struct{}), leave: make(chan struct{})}
	r.members[s] = m
	r.work.Go(func() { r.serve(m) })
}

// serve connects to the process behind a socket, lets it join, and stays with it until it leaves. Then, and after a
// failure, it is tried again some time later, unless its socket was removed.
func (r *Registry) serve(m *member) {
	r.mu.Lock()
	freed := r.freed
	r.mu.Unlock()
	b, err := r.join(m.socket)
	close(m.ready)
	if err == nil {
		r.tell(News{Kind: Joined, Provider: b.props.Name, ID: b.props.ID, Path: m.socket.Path})
		r.stay(m, b)
		freed = nil
	}
	select {
	case <-m.leave:
		return
	case <-r.life.Done():
		return
	case <-freed: // maybe the one that had its id
	case <-time.After(retryAfter):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && r.members[m.socket] == m {
		r.start(m.socket, true)
	}
}

// join connects to the process behind a socket and adds it to the coordinator. It reports an error.
func (r *Registry) join(s sockets.Socket) (*binding, error) {
	b := &binding{removed: make(chan struct{})}
	err := r.connect(s, b)
	if err == nil {
		err = r.add(b)
	}
	if err == nil {
		return b, nil
	}
	if b.Remote != nil {
		err = errors.Join(err, b.Close())
	}
	r.refuse(s.Path, b.props, err)
	return nil, err
}

// connect connects to the process behind a socket and reads its properties.
func (r *Registry) connect(s sockets.Socket, b *binding) error {
	ctx, cancel := context.WithTimeout(r.life, connectLimit)
	defer cancel()
	err := s.Connect(r.trust, func(path string, trust func(uid uint32) error) (err error) {
		b.Remote, err = provider.Connect(ctx, path, trust)
		return err
	})
	if err != nil {
		return err
	}
	if b.props, err = b.Properties(ctx); err != nil {
		return err
	}
	return acceptable(b.props)
}

// add adds a provider to the coordinator. If one with its id is leaving, add waits for that.
func (r *Registry) add(b *binding) error {
	err := r.coordinator.AddProvider(r.life, b.Remote)
	if errors.Is(err, vss.ErrProviderAlreadyRegistered) {
		r.mu.Lock()
		former := r.joined[b.props.ID]
		r.mu.Unlock()
		if former == nil {
			return err
		}
		select {
		case <-former.removed:
		case <-time.After(connectLimit):
			return err
		}
		err = r.coordinator.AddProvider(r.life, b.Remote)
	}
	if err == nil {
		r.mu.Lock()
		r.joined[b.props.ID] = b
		r.mu.Unlock()
	}
	return err
}

// remove records that a provider was removed from the coordinator.
func (r *Registry) remove(b *binding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.joined, b.props.ID)
	close(b.removed)
	close(r.freed)
	r.freed = make(chan struct{})
}

func (r *Registry) trust(uid uint32) error {
	if r.folders.Allows(uid) {
		return nil
	}
	return fmt.Errorf(
		"uid %d may not run providers; the configuration lists the accounts that may: [providers] accounts",
		uid,
	)
}

// acceptable returns an error for a provider that can't join. The system provider is part of the service.
func acceptable(p provider.Properties) error {
	if p.Type == vss.ProviderSystem {
		return vss.E("AddProvider", vss.ErrInvalidArg,
			errors.New("a provider that joins can't be the system provider")).
			On(p.Name).Advise("let it return type SOFTWARE")
	}
	return p.Validate()
}

// stay waits until the provider's process ends or its socket is removed, and removes it from the coordinator.
func (r *Registry) stay(m *member, b *binding) {
	defer func() { _ = b.Close() }()
	news := News{Kind: Died, Provider: b.props.Name, ID: b.props.ID, Path: m.socket.Path}
	leave := m.leave
	var retry <-chan time.Time
	for {
		select {
		case <-r.life.Done():
			return
		case <-b.Gone():
			if err := r.coordinator.RemoveProvider(r.life, b.props.ID, true); err != nil {
				r.log.Error("can't remove a provider whose process has ended", "provider", b.props.Name, "error", err)
			}
			r.remove(b)
			r.tell(news)
			return
		case <-leave:
		case <-retry:
		}
		leave = nil
		err := r.coordinator.RemoveProvider(r.life, b.props.ID, false)
		if err == nil {
			r.remove(b)
			news.Kind = Left
			r.tell(news)
			return
		}
		r.log.Info("can't release a provider whose socket was removed", "provider", b.props.Name, "error", err)
		retry = time.After(retryAfter)
	}
}

// refuse reports why a process behind a socket can't be a provider, once for each reason.
func (r *Registry) refuse(path string, props provider.Properties, err error) {
	r.mu.Lock()
	known := r.refused[path] == err.Error() || r.closed
	r.refused[path] = err.Error()
	r.mu.Unlock()
	if !known {
		r.tell(News{Kind: Refused, Provider: props.Name, ID: props.ID, Path: path, Err: err})
	}
}

func (r *Registry) tell(n News) {
	r.reporting.Lock()
	defer r.reporting.Unlock()
	r.report(n)
}

// Close ends the connections to all providers. The coordinator must have released them before.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.end()
	r.work.Wait()
	return nil
}
