// Package writers keeps the registry of running writers: those in the service and those behind sockets in the run
// directory.
//
// The folder RUN/writers/ belongs to root, with mode 0711; processes of root create their sockets there. Each account
// that the configuration allows has a folder RUN/writers/ACCOUNT/ of its own, with mode 0700. An account therefore
// can't take another's name, fill the folder, or redirect the service to a socket elsewhere: symbolic links are not
// followed, and the kernel reports the process behind a socket (SO_PEERCRED). Source: writer's reference, access
// control.
package writers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const (
	connectLimit = 2 * time.Second  // for a writer to identify itself
	retryAfter   = 10 * time.Second // before a writer that failed or was refused is tried again
	maxSockets   = 256              // sockets examined in one folder
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
	folders []folder
	trust   func(uid uint32) error
	log     *slog.Logger

	watched []*writer.Watched

	mu      sync.Mutex // the fields below
	inBox   []*entry
	sockets map[socket]*entry
	closed  bool
}

// folder is a folder with sockets. Their processes must run as uid; -1 allows any.
type folder struct {
	path string
	uid  int64
}

// socket identifies a socket file. A new file at the same path is a different writer.
type socket struct {
	path     string
	dev, ino uint64
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
	r := &Registry{trust: c.Trust, log: c.Logger, sockets: map[socket]*entry{}}
	top := filepath.Join(c.RunDir, "writers")
	if err := makeFolder(top, os.Geteuid(), 0o711); err != nil {
		return nil, err
	}
	r.folders = append(r.folders, folder{top, -1})
	for _, name := range c.Accounts {
		u, err := user.Lookup(name)
		if err != nil || name != filepath.Base(name) {
			r.log.Warn("an account that may run writers doesn't exist", "account", name, "error", err)
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, vss.E("StartWriters", vss.ErrUnexpected, err).On(name)
		}
		f := folder{filepath.Join(top, name), int64(uid)}
		if err := makeFolder(f.path, int(uid), 0o700); err != nil {
			return nil, err
		}
		r.folders = append(r.folders, f)
	}
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

// makeFolder creates the folder path if necessary and gives it to uid with mode.
func makeFolder(path string, uid int, mode os.FileMode) error {
	fail := func(err error) error {
		code := vss.ErrUnexpected
		if errors.Is(err, os.ErrPermission) {
			code = vss.ErrAccessDenied
		}
		return vss.E("StartWriters", code, err).
			On(path).
			Advise("remove this file, or choose another directory with --run")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fail(err)
	}
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return fail(cmp.Or(err, errors.New("not a directory")))
	}
	if err := os.Lchown(path, uid, -1); err != nil {
		return fail(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return fail(err)
	}
	return nil
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
	seen := r.scan()
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
	for s, e := range r.sockets {
		if _, there := seen[s]; !there {
			e.close()
			delete(r.sockets, s)
		} else if e.stale() {
			r.sockets[s] = r.restart(e)
		}
	}
	for s, f := range seen {
		if r.sockets[s] == nil {
			e := &entry{
				name:  s.path,
				reach: func(ctx context.Context) (writer.Remote, error) { return r.connect(ctx, s, f) },
			}
			r.start(e)
			r.sockets[s] = e
		}
	}
	outside := slices.SortedFunc(maps.Values(r.sockets), func(a, b *entry) int { return cmp.Compare(a.name, b.name) })
	return append(slices.Clone(r.inBox), outside...)
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
	for _, e := range slices.Concat(r.inBox, slices.Collect(maps.Values(r.sockets))) {
		if n := e.instance; n != nil && !e.member.lost() && n.Info.ID == i.ID &&
			n.Info.InstanceName == i.InstanceName &&
			i.InstanceName != "" {
			return vss.E("Subscribe", vss.ErrWriterAlreadySubscribed, fmt.Errorf("instance %q of class %s is already registered, at %s", i.InstanceName, i.ID, e.name)).
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
	for _, e := range r.sockets {
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
