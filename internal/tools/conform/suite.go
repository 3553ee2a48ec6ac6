package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// options are what the command line says.
type options struct {
	socket  string
	volumes []string
	luns    string                                    // file
	find    func([]string) ([]provider.Volume, error) // identifies volumes
	restart func() error                              // nil: the provider can't be restarted
	copies  func() (int, error)                       // nil: copies can't be counted
	frozen  func() bool                               // nil: that can't be seen
}

// suite is the cases for what serves at the socket.
type suite struct {
	kind, name string
	cases      []conformance.Case
}

// restartLimit is how long a provider may take until it serves again after a restart.
const restartLimit = 30 * time.Second

// suite asks at the socket for a provider, then for a writer. Errors: those of Connect.
func (o options) suite(ctx context.Context) (*suite, error) {
	p, perr := o.provider(ctx)
	if perr == nil {
		defer p.Close()
		return o.providerSuite(ctx, p)
	}
	w, err := writer.Connect(ctx, o.socket, nil)
	if err != nil {
		return nil, err // the same for both
	}
	defer w.Close()
	info, err := w.Info(ctx)
	if err != nil {
		return nil, errors.Join(perr, err)
	}
	return &suite{"writer", info.Name, writertest.Cases(o.writer)}, nil
}

// provider connects to a provider, and lets it load.
func (o options) provider(ctx context.Context) (provider.Remote, error) {
	p, err := provider.Connect(ctx, o.socket, nil)
	if err != nil {
		return nil, err
	}
	if err := p.OnLoad(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (o options) providerSuite(ctx context.Context, p provider.Remote) (*suite, error) {
	props, err := p.Properties(ctx)
	if err != nil {
		return nil, err
	}
	if props.Type == vss.ProviderHardware {
		luns, err := readLUNs(o.luns)
		if err != nil {
			return nil, err
		}
		return &suite{"hardware provider", props.Name, providertest.HardwareCases(o.hardware(luns))}, nil
	}
	if len(o.volumes) < 2 {
		return nil, cli.Usagef("vss-conform --help", "a software provider needs --volume twice")
	}
	volumes, err := o.find(o.volumes)
	if err != nil {
		return nil, err
	}
	return &suite{"software provider", props.Name, providertest.SoftwareCases(o.software(volumes))}, nil
}

// readLUNs reads the descriptions of the original LUNs.
func readLUNs(path string) ([]vss.LUNInformation, error) {
	if path == "" {
		return nil, cli.Usagef("vss-conform --help", "a hardware provider needs --luns FILE")
	}
	var luns []vss.LUNInformation
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &luns)
	}
	if err == nil && len(luns) < 2 {
		err = fmt.Errorf("it has %d LUNs, and two are needed", len(luns))
	}
	if err != nil {
		return nil, vss.E("ReadLUNs", vss.ErrInvalidArg, err).On(path).
			Advise("give a JSON list of two LUN descriptions")
	}
	return luns, nil
}

// findVolumes identifies volumes as the service does.
func findVolumes(ctx context.Context, names []string) ([]provider.Volume, error) {
	host := volume.New(volume.Options{})
	var out []provider.Volume
	for _, name := range names {
		v, err := host.Find(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, v.Identity())
	}
	return out, nil
}

// sh runs a command of the user and returns what it prints.
func sh(ctx context.Context, command string) (string, error) {
	out, err := exec.CommandContext(ctx, "/bin/sh", "-c", command).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%s: %w: %s", command, err, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// count returns the number of copies.
func (o options) count(t conformance.T) int {
	t.Helper()
	n, err := o.copies()
	if err != nil {
		t.Fatalf("--copies: %v", err)
	}
	return n
}

// storage looks at the provider's storage, where only what the case adds counts.
func (o options) storage(t conformance.T) providertest.Storage {
	if o.copies == nil {
		return providertest.Storage{}
	}
	before := o.count(t)
	return providertest.Storage{Copies: func() int { return o.count(t) - before }}
}

// connect connects to the provider for a case.
func (o options) connect(t conformance.T) provider.Remote {
	t.Helper()
	p, err := o.provider(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reconnect restarts the provider and connects to it when it serves.
func (o options) reconnect(t conformance.T, former provider.Remote) provider.Remote {
	t.Helper()
	if err := o.restart(); err != nil {
		t.Fatalf("--restart: %v", err)
	}
	end := time.After(restartLimit)
	select {
	case <-former.Gone():
	case <-end:
		t.Fatalf("the provider's process still runs %v after --restart", restartLimit)
	}
	for {
		// Without OnLoad: the suite itself asks the new process about the sets of the former one.
		p, err := provider.Connect(t.Context(), o.socket, nil)
		if err == nil {
			_ = former.Close()
			return p
		}
		select {
		case <-end:
			t.Fatalf("the provider doesn't serve %v after --restart: %v", restartLimit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// writer connects to the writer for one case.
func (o options) writer(t conformance.T) (*writertest.World, writer.Remote) {
	w, err := writer.Connect(t.Context(), o.socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &writertest.World{Writer: w, Volumes: o.volumes, Frozen: o.frozen}, w
}
