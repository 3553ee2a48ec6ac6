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

// Default locations of the service's state directory, run directory and configuration file.
const (
	DefaultState  = "/var/lib/vss"
	DefaultRun    = "/run/vss"
	DefaultConfig = "/etc/vss/vss.toml"
)

// DaemonName is argument 0 of the service. A program that contains the service runs it when started under this name.
const DaemonName = "vssd"

const (
	startLimit = 10 * time.Second      // until a service started on demand answers
	dialLimit  = 5 * time.Second       // until a running service answers
	startPause = 20 * time.Millisecond // between two attempts
)

// ConnectOptions select the service to connect to. An empty path stands for its default.
type ConnectOptions struct {
	State, Run, Config string
	// Exe is the program to start as the service if none is running and the caller is root. If it is "", none is
	// started.
	Exe string
}

// Client is a connection to the service. Its methods may be called from multiple goroutines.
type Client struct {
	conn        *grpc.ClientConn
	coordinator vssv1.CoordinatorClient
	run         string // run directory of the service; "" if unknown
}

// NewClient returns a Client that uses an existing gRPC connection; Close closes it. Unlike the connections that
// Connect makes, it returns errors as the connection does: *vss.Error only if an interceptor converts them, otherwise
// gRPC statuses with an ErrorDetail (api/vss/v1/error.proto).
func NewClient(conn *grpc.ClientConn) *Client {
	return &Client{conn: conn, coordinator: vssv1.NewCoordinatorClient(conn)}
}

// Close closes the connection and with it every session that was opened on it.
func (c *Client) Close() error { return c.conn.Close() }

// Connect connects to the service at RUN/vssd.sock. If no service is running, the caller is root and o.Exe is set,
// Connect starts one for these state and run directories; concurrent callers start only one. Errors: E_ACCESSDENIED (no
// permission to use the socket), VSS_E_UNEXPECTED (no service is running), and the error with which a started service
// ended, such as VSS_E_NOT_SUPPORTED for a catalogue of a newer format.
func Connect(ctx context.Context, o ConnectOptions) (*Client, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	conn, err := dial(ctx, o.socket())
	switch {
	case err == nil:
		return o.client(conn), nil
	case !errors.Is(err, wire.ErrServiceGone):
		return nil, err
	case os.Geteuid() != 0:
		return nil, vss.E("Connect", vss.ErrUnexpected,
			errors.New("the service is not running, and only root can start it")).On(o.socket()).
			Advise("start it with `systemctl start vssd.socket`, or run this command as root")
	case o.Exe == "":
		return nil, err
	}
	conn, err = start(ctx, o)
	if err != nil {
		return nil, err
	}
	return o.client(conn), nil
}

func (o *ConnectOptions) client(conn *grpc.ClientConn) *Client {
	c := NewClient(conn)
	c.run = o.Run
	return c
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

// start starts the service and waits until it answers. A lock on RUN/start.lock ensures that only one is started.
func start(ctx context.Context, o ConnectOptions) (*grpc.ClientConn, error) {
	fail := func(err error) (*grpc.ClientConn, error) {
		return nil, vss.E("StartService", vss.ErrUnexpected, err).On(o.socket()).
			Advise("the log of the service is " + logPath(o.Run))
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
		return conn, nil // started by another caller
	}
	if err := os.Remove(StartFailure(o.Run)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	exited, err := spawn(o)
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
		case err := <-exited:
			if b, rerr := os.ReadFile(StartFailure(o.Run)); rerr == nil && len(b) > 0 {
				failure := wire.UnmarshalError(b)
				if !beaten(failure) {
					return nil, failure
				}
				// Another service starts or ends at this moment: use the one that wins.
				if conn, err := again(ctx, o, failure, limit.C, &exited); conn != nil || err != nil {
					return conn, err
				}
				continue
			}
			return fail(fmt.Errorf("the service exited at start (%w): %s", err, lastLine(logPath(o.Run))))
		case <-limit.C:
			return fail(fmt.Errorf("the service did not answer within %v: %s", startLimit, lastLine(logPath(o.Run))))
		case <-ctx.Done():
			return fail(ctx.Err())
		case <-time.After(startPause):
		}
	}
}

// beaten reports whether a service failed to start because another one has its socket, catalogue or pool.
func beaten(err error) bool {
	return errors.Is(err, vss.ErrObjectAlreadyExists) || errors.Is(err, vss.ErrBadState) ||
		errors.Is(err, vss.VDSErrDeviceInUse)
}

// respawnPause is how long again waits before it starts another service.
const respawnPause = 250 * time.Millisecond

// again waits for a service that another program has started, and then starts one anew. It returns the connection, the
// failure if the time is over, or neither if another service was started: exited is then its channel.
func again(ctx context.Context, o ConnectOptions, failure error, over <-chan time.Time,
	exited *<-chan error) (*grpc.ClientConn, error) {
	pause := time.NewTimer(respawnPause)
	defer pause.Stop()
	for {
		if conn, err := dial(ctx, o.socket()); err == nil {
			return conn, nil
		}
		select {
		case <-over:
			return nil, failure
		case <-ctx.Done():
			return nil, failure
		case <-time.After(startPause):
			continue
		case <-pause.C:
		}
		_ = os.Remove(StartFailure(o.Run))
		next, err := spawn(o)
		if err != nil {
			return nil, failure
		}
		*exited = next
		return nil, nil
	}
}

// StartFailure returns the name of the file to which a service that was started on demand writes the error with which
// it failed to start, as a marshalled ErrorDetail (api/vss/v1/error.proto).
func StartFailure(run string) string { return filepath.Join(run, "start.failed") }

// spawn starts the service in a session of its own, so that it survives the terminal and this process. The channel
// receives an error when the service exits.
func spawn(o ConnectOptions) (exited <-chan error, err error) {
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
		Env:         environment(),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		done <- err
	}()
	return done, nil
}

// environment returns the environment of a service: that of the caller stays with the caller, but for what tests and
// the Go runtime set.
func environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root",
	}
	for _, name := range []string{"VSS_FAULT", "GOMEMLIMIT", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
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
		return "the log is missing"
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return "the log is empty"
	}
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
