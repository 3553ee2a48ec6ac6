// Package writers keeps the registry of running writers: those in the service and those behind sockets in the run
// directory.
//
// Processes of root create their sockets in RUN/writers/, those of an account that the configuration allows in
// RUN/writers/ACCOUNT/; see package sockets. Source: writer's reference, access control.
package writers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/sockets"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const (
	connectLimit = 2 * time.Second  // for a writer to identify itself
	retryAfter   = 10 * time.Second // before a writer that failed or was refused is tried again
)

// Config holds the parameters of New.
type Config struct {
	RunDir   string
	InBox    []writer.Writer        // run in this process, under writer.Watch
	Accounts []string               // accounts, besides root, that get a folder of their own
	Trust    func(uid uint32) error // returns an error for a process that must not be a writer
	Logger   *slog.Logger
}

// Registry finds running writers. Its methods may be called from multiple goroutines.
type Registry struct {
	folders *sockets.Folders
	trust   func(uid uint32) error
	log     *slog.Logger

	watched []*writer.Watched

	mu      sync.Mutex // the fields below
	inBox   []*entry
	outside map[sockets.Socket]*entry // behind sockets
	closed  bool
}

// entry is a writer in this process or behind a socket.
type entry struct {
	name    string // for the log
	reach   func(context.Context) (writer.Remote, error)
	again   bool          // a former attempt failed: Running doesn't wait for this one
	ready   chan struct{} // closed when instance is known
	dropped bool          // Registry.mu: the socket was removed

	instance *writer.Instance // guarded by Registry.mu or ready; nil if it was refused or didn't answer
	member   *member          // guarded like instance
	failed   time.Time        // guarded like instance: when connecting failed
}

// New creates the folders and the registry. Accounts that don't exist are skipped with a warning in the log. Errors:
// E_ACCESSDENIED, VSS_E_UNEXPECTED.
func New(c Config) (*Registry, error) {
	folders, err := sockets.Open("StartWriters", filepath.Join(c.RunDir, "writers"), c.Accounts, c.Logger)
	if err != nil {
		return nil, err
	}
	r := &Registry{folders: folders, trust: c.Trust, log: c.Logger, outside: map[sockets.Socket]*entry{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range c.InBox {
		watched := writer.Watch(w, c.Logger)
		r.watched = append(r.watched, watched)
		e := &entry{
			name:  "in process",
			reach: func(context.Context) (writer.Remote, error) { return local{watched}, nil },
		}
		r.start(e)
		r.inBox = append(r.inBox, e)
	}
	return r, nil
}

// Running returns the writers that run now, those in this process first. It connects to all new writers at once and
// waits at most two seconds for them. Writers that failed before are tried again from time to time, without waiting
// for them.
func (r *Registry) Running(ctx context.Context) []*writer.Instance {
	var all []*writer.Instance
	for _, e := range r.refresh() {
		if !e.again {
			select {
			case <-e.ready:
			case <-ctx.Done():
			}
		}
		select {
		case <-e.ready:
			if e.instance != nil && !e.member.lost() {
				all = append(all, e.instance)
			}
		default:
		}
	}
	return all
}

// refresh updates the entries from the sockets that exist now and returns them.
func (r *Registry) refresh() []*entry {
	seen := r.folders.Scan()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	for i, e := range r.inBox {
		if e.stale() {
			r.inBox[i] = r.restart(e)
		}
	}
	for s, e := range r.outside {
		if !slices.Contains(seen, s) {
			e.close()
			delete(r.outside, s)
		} else if e.stale() {
			r.outside[s] = r.restart(e)
		}
	}
	for _, s := range seen {
		if r.outside[s] == nil {
			e := &entry{
				name:  s.Path,
				reach: func(ctx context.Context) (writer.Remote, error) { return r.connect(ctx, s) },
			}
			r.start(e)
			r.outside[s] = e
		}
	}
	outside := slices.SortedFunc(maps.Values(r.outside), func(a, b *entry) int { return cmp.Compare(a.name, b.name) })
	return append(slices.Clone(r.inBox), outside...)
}

// connect connects to the writer behind a socket. Errors: those of writer.Connect.
func (r *Registry) connect(ctx context.Context, s sockets.Socket) (c writer.Remote, err error) {
	err = s.Connect(r.trust, func(path string, trust func(uid uint32) error) (err error) {
		c, err = writer.Connect(ctx, path, trust)
		return err
	})
	return c, err
}

// stale reports whether the entry is to be replaced: its process has ended, or retryAfter has passed since it failed.
// Registry.mu is held.
func (e *entry) stale() bool {
	select {
	case <-e.ready:
	default:
		return false
	}
	if e.instance == nil {
		return time.Since(e.failed) >= retryAfter
	}
	return e.member.lost()
}

func (r *Registry) restart(e *entry) *entry {
	n := &entry{name: e.name, reach: e.reach, again: e.instance == nil}
	r.start(n)
	return n
}

// close disconnects the writer. Registry.mu is held.
func (e *entry) close() {
	e.dropped = true
	if e.instance != nil {
		_ = e.member.Close()
	}
}

// start connects to the writer in the background.
func (r *Registry) start(e *entry) {
	e.ready = make(chan struct{})
	go func() {
		defer close(e.ready)
		ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
		defer cancel()
		if err := r.admit(ctx, e); err != nil {
			e.failed = time.Now()
			r.log.Warn("a writer can't be registered", "at", e.name, "error", err, "hint", vss.Hint(err))
		}
	}()
}

// admit connects to the writer and registers it. Errors: those of Connect and Info, VSS_E_WRITER_ALREADY_SUBSCRIBED if
// another instance has the same class and instance name.
func (r *Registry) admit(ctx context.Context, e *entry) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.checkVacant(info); err != nil || e.dropped || r.closed {
		return errors.Join(err, c.Close())
	}
	id := vss.WriterInstanceID{GUID: vss.NewGUID()}
	e.member = &member{Remote: c, id: id, info: info, log: r.log.With("at", e.name)}
	e.instance = &writer.Instance{ID: id, Info: info, Writer: e.member}
	return nil
}

// checkVacant returns an error if an instance with the same class and instance name is registered: a restore
// could not distinguish the two.
func (r *Registry) checkVacant(i writer.Info) error {
	for _, e := range slices.Concat(r.inBox, slices.Collect(maps.Values(r.outside))) {
		if n := e.instance; n != nil && !e.member.lost() && n.Info.ID == i.ID &&
			n.Info.InstanceName == i.InstanceName &&
			i.InstanceName != "" {
			return vss.E("Subscribe", vss.ErrWriterAlreadySubscribed,
				fmt.Errorf("instance %q of class %s is already registered, at %s", i.InstanceName, i.ID, e.name)).
				On(i.Name).
				Advise("stop one of the two, or give them different instance names")
		}
	}
	return nil
}

// Close disconnects all writers. Writers in this process end their sessions; frozen ones receive Abort. Writers behind
// sockets do the same when they see the connection close.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.closed = true
	for _, e := range r.outside {
		e.close()
	}
	r.mu.Unlock()
	var all sync.WaitGroup
	for _, w := range r.watched {
		all.Go(func() { _ = w.Close() }) // errors are logged
	}
	all.Wait()
	return nil
}
