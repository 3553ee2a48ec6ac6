// Package writers knows which writers run now: those in the service and those behind sockets in the run directory.
//
// RUN/writers/ is root's, mode 0711: a process of root's puts its socket there. Every account that the configuration allows
// has a folder RUN/writers/ACCOUNT/ of its own, mode 0700, for its processes' sockets. So nobody can take another's name, fill
// the folder, or lead the service to a socket elsewhere: symbolic links are not followed, and who is behind a socket is
// asked of the kernel (SO_PEERCRED). Source: writer's reference, access control.
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
	connectLimit = 2 * time.Second  // for a writer to say who it is
	retryAfter   = 10 * time.Second // until one that didn't, or was refused, is asked again
	maxSockets   = 256              // looked at in one folder
)

// Config is what a registry is made of.
type Config struct {
	RunDir   string
	InBox    []writer.Writer        // run in this process, under writer.Watch
	Accounts []string               // accounts, besides root, that have a folder of their own
	Trust    func(uid uint32) error // refuses the process behind a socket
	Logger   *slog.Logger
}

// Registry finds the writers that run. Its methods may be called from many goroutines.
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

// folder is where sockets are looked for; uid is whose processes they must be, any -1.
type folder struct {
	path string
	uid  int64
}

// socket is one that was seen: another one at the same path is another writer.
type socket struct {
	path     string
	dev, ino uint64
}

// entry is a writer in process, or what is behind a socket.
type entry struct {
	name    string // for the log
	reach   func(context.Context) (writer.Remote, error)
	again   bool          // it failed before: nobody waits for it
	ready   chan struct{} // closed when instance is known
	dropped bool          // Registry.mu: nobody wants it any more

	instance *writer.Instance // Registry.mu, or after ready; nil: it was refused or didn't answer
	member   *member          // as instance
	failed   time.Time        // as instance: when there was none
}

// New makes the folders and a registry. An account that doesn't exist is left out, with a word in the log.
// Errors: E_ACCESSDENIED, VSS_E_UNEXPECTED.
func New(c Config) (*Registry, error) {
	r := &Registry{trust: c.Trust, log: c.Logger, sockets: map[socket]*entry{}}
	top := filepath.Join(c.RunDir, "writers")
	if err := own(top, os.Geteuid(), 0o711); err != nil {
		return nil, err
	}
	r.folders = append(r.folders, folder{top, -1})
	for _, name := range c.Accounts {
		u, err := user.Lookup(name)
		if err != nil || name != filepath.Base(name) {
			r.log.Warn("an account that may be a writer doesn't exist", "account", name, "error", err)
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, vss.E("StartWriters", vss.ErrUnexpected, err).On(name)
		}
		f := folder{filepath.Join(top, name), int64(uid)}
		if err := own(f.path, int(uid), 0o700); err != nil {
			return nil, err
		}
		r.folders = append(r.folders, f)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range c.InBox {
		watched := writer.Watch(w, c.Logger)
		r.watched = append(r.watched, watched)
		e := &entry{name: "in process", reach: func(context.Context) (writer.Remote, error) { return local{watched}, nil }}
		r.start(e)
		r.inBox = append(r.inBox, e)
	}
	return r, nil
}

// own makes a folder that belongs to uid, whatever was there.
func own(path string, uid int, mode os.FileMode) error {
	fail := func(err error) error {
		code := vss.ErrUnexpected
		if errors.Is(err, os.ErrPermission) {
			code = vss.ErrAccessDenied
		}
		return vss.E("StartWriters", code, err).On(path).Advise("remove what is there, or choose another --run")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fail(err)
	}
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return fail(cmp.Or(err, errors.New("it is no folder")))
	}
	if err := os.Lchown(path, uid, -1); err != nil {
		return fail(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return fail(err)
	}
	return nil
}

// Running lists the writers that run now, in-box ones first. It connects to those it doesn't know yet, all at once, and waits
// at most two seconds for one that doesn't answer; one that failed is asked again from time to time, and not waited for.
func (r *Registry) Running(ctx context.Context) []*writer.Instance {
	var all []*writer.Instance
	for _, e := range r.look() {
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

// look brings the entries to what is there now.
func (r *Registry) look() []*entry {
	seen := r.scan()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	for i, e := range r.inBox {
		if e.over() {
			r.inBox[i] = r.restart(e)
		}
	}
	for s, e := range r.sockets {
		if _, there := seen[s]; !there {
			e.drop()
			delete(r.sockets, s)
		} else if e.over() {
			r.sockets[s] = r.restart(e)
		}
	}
	for s, f := range seen {
		if r.sockets[s] == nil {
			e := &entry{name: s.path, reach: func(ctx context.Context) (writer.Remote, error) { return r.connect(ctx, s, f) }}
			r.start(e)
			r.sockets[s] = e
		}
	}
	outside := slices.SortedFunc(maps.Values(r.sockets), func(a, b *entry) int { return cmp.Compare(a.name, b.name) })
	return append(slices.Clone(r.inBox), outside...)
}

// over says whether it is time to ask anew: the process is gone, or long enough has passed since it failed. Registry.mu is
// held.
func (e *entry) over() bool {
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

// drop lets a writer go whose socket has gone. Registry.mu is held.
func (e *entry) drop() {
	e.dropped = true
	if e.instance != nil {
		_ = e.member.Close()
	}
}

// start asks a writer who it is, beside everything else.
func (r *Registry) start(e *entry) {
	e.ready = make(chan struct{})
	go func() {
		defer close(e.ready)
		ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
		defer cancel()
		if err := r.admit(ctx, e); err != nil {
			e.failed = time.Now()
			r.log.Warn("a writer can't take part", "at", e.name, "error", err, "hint", vss.Hint(err))
		}
	}()
}

// admit makes a writer an instance, unless another one has its place. Errors: those of Connect and Info,
// VSS_E_WRITER_ALREADY_SUBSCRIBED.
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
	if err := r.vacant(info); err != nil || e.dropped || r.closed {
		return errors.Join(err, c.Close())
	}
	id := vss.WriterInstanceID{GUID: vss.NewGUID()}
	e.member = &member{Remote: c, id: id, info: info, log: r.log.With("at", e.name)}
	e.instance = &writer.Instance{ID: id, Info: info, Writer: e.member}
	return nil
}

// vacant refuses a second instance of a class with the same instance name: at a restore nobody could tell which is which.
func (r *Registry) vacant(i writer.Info) error {
	for _, e := range slices.Concat(r.inBox, slices.Collect(maps.Values(r.sockets))) {
		if n := e.instance; n != nil && !e.member.lost() && n.Info.ID == i.ID && n.Info.InstanceName == i.InstanceName && i.InstanceName != "" {
			return vss.E("Subscribe", vss.ErrWriterAlreadySubscribed, fmt.Errorf("instance %q of class %s runs already, at %s", i.InstanceName, i.ID, e.name)).
				On(i.Name).Advise("stop one of the two, or give them different instance names")
		}
	}
	return nil
}

// Close lets all writers go. Those in process end their sessions: whoever is frozen is told Abort. Those behind sockets do
// the same when they see the connection end.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.closed = true
	for _, e := range r.sockets {
		e.drop()
	}
	r.mu.Unlock()
	var all sync.WaitGroup
	for _, w := range r.watched {
		all.Go(func() { _ = w.Close() }) // it reports to the log
	}
	all.Wait()
	return nil
}
