// Package service assembles vssd: catalogue, array, disk manager, providers, writers and coordinator behind one
// socket.
package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/config"
	"github.com/stillpoint-vss/stillpoint/internal/coordinator"
	"github.com/stillpoint-vss/stillpoint/internal/handover"
	"github.com/stillpoint-vss/stillpoint/internal/journal"
	"github.com/stillpoint-vss/stillpoint/internal/rpc"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Options is the command line of the service.
type Options struct {
	State, Run string
	Config     string // "": the default file, if it exists
	Host       string // "": as configured
	OnDemand   bool   // end when the service isn't used any more
	Verbose    bool
}

// stopLimit is how long a stopping service waits for calls in progress.
const stopLimit = 20 * time.Second

// memoryLimit is the soft memory limit of the Go runtime, in bytes: lists of thousands of copies would let the heap
// grow to twice the size. GOMEMLIMIT overrides it.
const memoryLimit = 48 << 20

// Run runs the service until ctx ends or, on demand, until it isn't used any more. Errors: those of starting its
// parts.
func Run(ctx context.Context, o Options) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	cfg, err := config.Load(o.Config)
	if err != nil {
		return err
	}
	if o.Host != "" {
		cfg.Host.Name = o.Host
	}
	for _, dir := range []*string{&o.State, &o.Run} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return vss.E("StartService", vss.ErrInvalidArg, err).On(*dir)
		}
	}
	level := slog.LevelInfo
	if o.Verbose {
		level = slog.LevelDebug
	}
	ring := journal.New(level)
	defer flush(ring)
	logger := slog.New(ring)

	listener, err := listen(o.Run, cfg)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := os.MkdirAll(o.State, 0o700); err != nil {
		return vss.E("StartService", vss.ErrUnexpected, err).On(o.State)
	}
	store, err := catalog.Open(filepath.Join(o.State, "catalog.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	parts, err := assembly{cfg, o, store, ring, logger}.assemble(ctx)
	if err != nil {
		return err
	}
	defer parts.close()
	if err := parts.coordinator.Recover(ctx); err != nil {
		return err
	}
	if err := parts.providers.Start(ctx, parts.coordinator); err != nil {
		return err
	}
	return serve(ctx, listener, cfg, o, parts, logger)
}

func flush(ring *journal.Ring) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = ring.Flush(ctx)
}

// listen returns the socket: that of systemd if there is one, otherwise RUN/vssd.sock. If accounts outside the group
// may be requesters, everybody may connect, and each call is checked.
func listen(run string, cfg *config.Config) (net.Listener, error) {
	if err := os.MkdirAll(run, 0o755); err != nil {
		return nil, vss.E("StartService", vss.ErrUnexpected, err).On(run)
	}
	inherited, err := activation.Listeners()
	if err != nil {
		return nil, vss.E("StartService", vss.ErrUnexpected, err)
	}
	for _, l := range inherited {
		if l != nil {
			return l, nil
		}
	}
	return wire.Listen(filepath.Join(run, "vssd.sock"), socketMode(cfg), cfg.Service.Group)
}

// socketMode returns the permissions of the sockets for requesters. If accounts outside of the group may be requesters,
// everybody may connect.
func socketMode(cfg *config.Config) os.FileMode {
	for name, access := range cfg.Accounts {
		if name != "root" && access.Requester() {
			return 0o666
		}
	}
	return 0o660
}

// handOver answers a caller of the handover socket. A session's token is known to its owner only.
func (p *parts) handOver(ctx context.Context, uid uint32, session string) ([]handover.Mount, error) {
	s, err := p.coordinator.Session(session, uid)
	if err != nil {
		return nil, err
	}
	return s.HandOver(ctx)
}

// deviceDir returns the folder of device objects.
func deviceDir(run string) string {
	if run == requester.DefaultRun {
		return "/dev/vss"
	}
	return filepath.Join(run, "dev")
}

func serve(ctx context.Context, l net.Listener, cfg *config.Config, o Options, p *parts, logger *slog.Logger) error {
	var busy activity
	g := gate{cfg}
	server := wire.NewServer(
		logger,
		grpc.StatsHandler(&busy),
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.stream),
	)
	vssv1.RegisterCoordinatorServer(server, rpc.New(p.coordinator, logger))
	vssv1.RegisterDisksServer(server, vds.NewServer(p.disks))
	packets, err := wire.ListenPackets(handover.Socket(o.Run), socketMode(cfg), cfg.Service.Group)
	if err != nil {
		return err
	}
	defer packets.Close()
	go func() { _ = handover.Serve(ctx, packets, p.handOver) }()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	logger.Info("service ready", "host", cfg.Host.Name, "state", o.State, "run", o.Run)

	life, stop := context.WithCancel(ctx)
	defer stop()
	if o.OnDemand {
		go func() {
			busy.untilIdle(life, cfg.Service.IdleExit.Duration, p.idle)
			stop()
		}()
	}
	select {
	case err := <-ended:
		return vss.E("Serve", vss.ErrUnexpected, err).On(l.Addr().String())
	case <-life.Done():
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	_ = l.Close() // a new client starts another service, which waits for our state
	soon, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	p.coordinator.Shutdown(soon)
	quit := time.AfterFunc(stopLimit, server.Stop)
	defer quit.Stop()
	server.GracefulStop()
	if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) && !errors.Is(err, net.ErrClosed) {
		logger.Warn("socket", "error", err)
	}
	logger.Info("service ended")
	return nil
}

var _ coordinator.Quiet = (*journal.Ring)(nil)
