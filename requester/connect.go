package requester

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Where the service is when nobody says otherwise.
const (
	DefaultState  = "/var/lib/vss"
	DefaultRun    = "/run/vss"
	DefaultConfig = "/etc/vss/vss.toml"
)

// DaemonName is the first argument by which a program that holds the service, too, knows that it is to be the service.
const DaemonName = "vssd"

const (
	startLimit = 10 * time.Second      // for a service started on demand to answer
	dialLimit  = 5 * time.Second       // for one that is there
	startPause = 20 * time.Millisecond // between two attempts
)

// ConnectOptions say which service to talk to. Empty paths are the defaults.
type ConnectOptions struct {
	State, Run, Config string
	Exe                string // program to start as the service if none answers and we are root; "" never starts one
}

// Client is a connection to the service. Its methods may be called from many goroutines.
type Client struct {
	conn        *grpc.ClientConn
	coordinator vssv1.CoordinatorClient
}

// NewClient uses a connection made by others; it must turn statuses into *vss.Error as the wire package of the service does.
// Close closes it.
func NewClient(conn *grpc.ClientConn) *Client {
	return &Client{conn: conn, coordinator: vssv1.NewCoordinatorClient(conn)}
}

// Conn is the connection, for other services at the same socket.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Close ends the connection and every session on it.
func (c *Client) Close() error { return c.conn.Close() }

// Connect reaches the service at RUN/vssd.sock. If nobody answers, the caller is root and a program is named, it starts one
// for this pair of folders, once however many callers there are.
// Errors: E_ACCESSDENIED (no right to the socket), VSS_E_UNEXPECTED (no service), and what kept it from starting:
// VSS_E_NOT_SUPPORTED for a store of a newer format.
func Connect(ctx context.Context, o ConnectOptions) (*Client, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	conn, err := dial(ctx, o.socket())
	switch {
	case err == nil:
		return NewClient(conn), nil
	case !errors.Is(err, wire.ErrServiceGone):
		return nil, err
	case os.Geteuid() != 0:
		return nil, vss.E("Connect", vss.ErrUnexpected, errors.New("no service answers, and only root can start one")).On(o.socket()).
			Advise("start it with `systemctl start vssd.socket`, or run this as root")
	case o.Exe == "":
		return nil, err
	}
	conn, err = start(ctx, o)
	if err != nil {
		return nil, err
	}
	return NewClient(conn), nil
}

func (o *ConnectOptions) complete() error {
	for _, p := range []struct {
		path     *string
		fallback string
	}{{&o.State, DefaultState}, {&o.Run, DefaultRun}} {
		if *p.path == "" {
			*p.path = p.fallback
		}
		abs, err := filepath.Abs(*p.path)
		if err != nil {
			return vss.E("Connect", vss.ErrInvalidArg, err).On(*p.path)
		}
		*p.path = abs
	}
	if o.Config == "" {
		return nil
	}
	abs, err := filepath.Abs(o.Config)
	if err != nil {
		return vss.E("Connect", vss.ErrInvalidArg, err).On(o.Config)
	}
	o.Config = abs
	return nil
}

func (o *ConnectOptions) socket() string { return filepath.Join(o.Run, "vssd.sock") }

func dial(ctx context.Context, socket string) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	return wire.Dial(ctx, socket)
}

// start makes the service and waits until it answers. RUN/start.lock keeps two callers from starting two.
func start(ctx context.Context, o ConnectOptions) (*grpc.ClientConn, error) {
	fail := func(err error) (*grpc.ClientConn, error) {
		return nil, vss.E("StartService", vss.ErrUnexpected, err).On(o.socket()).Advise("see " + logPath(o.Run) + " for what it said")
	}
	if err := os.MkdirAll(o.Run, 0o755); err != nil {
		return fail(err)
	}
	lock, err := os.OpenFile(filepath.Join(o.Run, "start.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	if err := flock(ctx, lock); err != nil {
		return fail(err)
	}
	if conn, err := dial(ctx, o.socket()); err == nil {
		return conn, nil // another caller was faster
	}
	if err := os.Remove(StartFailure(o.Run)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	gone, err := spawn(o)
	if err != nil {
		return fail(err)
	}
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	for {
		conn, err := dial(ctx, o.socket())
		if err == nil {
			return conn, nil
		}
		select {
		case err := <-gone:
			if b, rerr := os.ReadFile(StartFailure(o.Run)); rerr == nil && len(b) > 0 {
				return nil, wire.UnmarshalError(b)
			}
			return fail(fmt.Errorf("the service ended at once (%w): %s", err, lastLine(logPath(o.Run))))
		case <-limit.C:
			return fail(fmt.Errorf("the service doesn't answer after %v: %s", startLimit, lastLine(logPath(o.Run))))
		case <-ctx.Done():
			return fail(ctx.Err())
		case <-time.After(startPause):
		}
	}
}

// StartFailure is the file in which a service that was started on demand leaves why it could not start, as package wire
// marshals errors.
func StartFailure(run string) string { return filepath.Join(run, "start.failed") }

// spawn starts the service in a session of its own, so that neither the terminal nor our end takes it along.
func spawn(o ConnectOptions) (gone <-chan error, err error) {
	log, err := os.OpenFile(logPath(o.Run), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := []string{DaemonName, "--state", o.State, "--run", o.Run}
	if o.Config != "" {
		args = append(args, "--config", o.Config)
	}
	cmd := &exec.Cmd{
		Path: o.Exe, Args: append(args, "--on-demand"), Dir: "/", Stderr: log, // no Stdin and Stdout: /dev/null
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		ended <- err
	}()
	return ended, nil
}

func flock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(startPause):
		}
	}
}

func logPath(run string) string { return filepath.Join(run, "vssd.log") }

func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "it left no log"
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return "its log is empty"
	}
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
