package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// socketFolder returns a folder whose path is short enough for sockets.
func socketFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-conform-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// outcomes runs the suite, or some of its cases, and returns the cases that failed, and those that were skipped.
func outcomes(t *testing.T, o options, only ...string) (failed, skipped []string) {
	t.Helper()
	s, err := o.suite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cases := s.cases
	if len(only) > 0 {
		cases = slices.DeleteFunc(cases, func(c conformance.Case) bool { return !slices.Contains(only, c.Name) })
	}
	conformance.Run(t.Context(), cases, func(v conformance.Verdict) {
		switch v.Outcome {
		case conformance.Pass:
		case conformance.Fail:
			t.Logf("%s: %q", v.Case, v.Messages)
			failed = append(failed, v.Case)
		case conformance.Skip:
			skipped = append(skipped, v.Case)
		}
	})
	return failed, skipped
}

// hardware serves a hardware provider of an array with two LUNs.
func hardware(t *testing.T, wrap func(provider.Hardware) provider.Hardware) options {
	t.Helper()
	a, luns := providertest.NewArray(2)
	dir := socketFolder(t)
	o := options{
		socket: filepath.Join(dir, "p.sock"),
		luns:   filepath.Join(dir, "luns"),
		copies: func() (int, error) { return a.Copies(), nil },
	}
	b, err := json.Marshal(luns)
	if err == nil {
		err = os.WriteFile(o.luns, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	start := func() func() { return providertest.Serve(t, o.socket, wrap(providertest.NewMemory(a))) }
	stop := start()
	o.restart = func() error {
		stop()
		stop = start()
		return nil
	}
	return o
}

// software serves a software provider of a host with two volumes.
func software(t *testing.T, wrap func(provider.Software) provider.Software) options {
	t.Helper()
	h, volumes := providertest.NewHost(2)
	o := options{
		socket:  filepath.Join(socketFolder(t), "p.sock"),
		volumes: []string{"a", "b"},
		copies:  func() (int, error) { return h.Copies(), nil },
	}
	for i := range volumes {
		volumes[i].Mount = "" // there is none to write files into
	}
	o.find = func([]string) ([]provider.Volume, error) { return volumes, nil }
	start := func() func() { return providertest.Serve(t, o.socket, wrap(providertest.NewMemorySoftware(h))) }
	stop := start()
	o.restart = func() error {
		stop()
		stop = start()
		return nil
	}
	return o
}

// Providers that break one rule each.
type (
	abortLater struct{ provider.Hardware } // AbortSnapshots does nothing
	credulous  struct{ provider.Hardware } // AreLUNsSupported accepts every LUN
	deaf       struct{ provider.Software } // Events never ends
	forgetful  struct{ provider.Software } // Query lists nothing
	eager      struct{ provider.Software } // Consider accepts every context
	backwards  struct{ provider.Software } // Describe returns a last cut before the first
)

func (abortLater) AbortSnapshots(context.Context, vss.SnapshotSetID) error { return nil }

func (credulous) AreLUNsSupported(
	_ context.Context,
	_ vss.Context,
	_ []string,
	luns []vss.LUNInformation,
) (bool, []vss.LUNInformation, error) {
	return true, luns, nil
}

func (deaf) Events(context.Context) (<-chan provider.Event, error) {
	return make(chan provider.Event), nil
}

func (forgetful) Query(context.Context) ([]provider.SnapshotProperties, error) { return nil, nil }

func (eager) Consider(context.Context, provider.Volume, vss.Context) (provider.Offer, error) {
	return provider.Offer{}, nil
}

func (b backwards) Describe(ctx context.Context, set vss.SnapshotSetID, id vss.SnapshotID) (provider.Copy, error) {
	c, err := b.Software.Describe(ctx, set, id)
	c.LastCut = c.FirstCut.Add(-1)
	return c, err
}

func TestHardware(t *testing.T) {
	for name, c := range map[string]struct {
		wrap func(provider.Hardware) provider.Hardware
		want []string
	}{
		"correct": {func(p provider.Hardware) provider.Hardware { return p }, nil},
		"AbortSnapshots does nothing": {func(p provider.Hardware) provider.Hardware { return abortLater{p} }, []string{
			"Repeated", "OutOfOrder", "AbortAfterEveryStep", "AbortInEndPrepare", "UnknownSet", "CancelledContext",
			"Restart",
		}},
		"AreLunsSupported accepts everything": {func(p provider.Hardware) provider.Hardware { return credulous{p} },
			[]string{
				"Attributes", "Stranger",
			}},
	} {
		t.Run(name, func(t *testing.T) {
			failed, skipped := outcomes(t, hardware(t, c.wrap))
			if name == "correct" || len(c.want) < 3 {
				if d := cmp.Diff(c.want, failed); d != "" {
					t.Error(d)
				}
			}
			for _, w := range c.want {
				if !slices.Contains(failed, w) {
					t.Errorf("%s hasn't failed", w)
				}
			}
			if len(skipped) != 0 {
				t.Errorf("skipped: %v", skipped)
			}
		})
	}
}

func TestSoftware(t *testing.T) {
	for name, c := range map[string]struct {
		wrap func(provider.Software) provider.Software
		want []string
	}{
		"correct": {func(p provider.Software) provider.Software { return p }, nil},
		// the transport ends it
		"Events never ends": {func(p provider.Software) provider.Software { return deaf{p} }, nil},
		"Query lists nothing": {func(p provider.Software) provider.Software { return forgetful{p} },
			[]string{"SnapshotProperties"}},
		"Consider accepts everything": {func(p provider.Software) provider.Software { return eager{p} },
			[]string{"Contexts", "UnknownVolume"}},
		"the last cut is the earlier": {func(p provider.Software) provider.Software { return backwards{p} },
			[]string{"HappyPath", "UnknownCopy", "SurfaceAndWithdraw", "Delete", "AfterRestart", "Revert"}},
	} {
		t.Run(name, func(t *testing.T) {
			failed, skipped := outcomes(t, software(t, c.wrap))
			if d := cmp.Diff(c.want, failed); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff([]string{"ReadOnly"}, skipped); d != "" { // there are no files to write
				t.Error(d)
			}
		})
	}
}

// neverThaws is a writer that ignores Thaw.
type neverThaws struct{ writer.Writer }

func (neverThaws) Thaw(context.Context, *writer.Event) error { return nil }

func TestWriter(t *testing.T) {
	serve := func(t *testing.T, wrap func(writer.Writer) writer.Writer) options {
		dir := socketFolder(t)
		r := writertest.NewRecorder("test")
		writertest.Serve(t, dir, "w", wrap(r))
		return options{socket: filepath.Join(dir, "w.sock"), frozen: r.Frozen}
	}
	t.Run("correct", func(t *testing.T) {
		failed, skipped := outcomes(t, serve(t, func(w writer.Writer) writer.Writer { return w }))
		if len(failed) > 0 || !slices.Equal(skipped, []string{"the freeze window ends"}) {
			t.Errorf("failed: %v, skipped: %v", failed, skipped)
		}
	})
	t.Run("Thaw does nothing", func(t *testing.T) {
		o := serve(t, func(w writer.Writer) writer.Writer { return neverThaws{w} })
		const wrong, right = "a backup", "Info is complete and repeatable"
		if failed, _ := outcomes(t, o, wrong, right); !slices.Equal(failed, []string{wrong}) {
			t.Errorf("failed: %v", failed)
		}
	})
}

// TestProgram runs the program itself: text, JSON, commands, exit codes.
func TestProgram(t *testing.T) {
	o := hardware(t, func(p provider.Hardware) provider.Hardware { return abortLater{p} })
	var out, errs bytes.Buffer
	args := []string{"--luns", o.luns, "--cases", "Properties|Attributes|AfterRestart|Mask", "--copies", "echo 2"}
	if code := run(t.Context(), append(args, o.socket), &out, &errs); code != 1 {
		t.Errorf("exit %d: %s", code, &errs)
	}
	for _, want := range []string{"hardware provider \"Memory Provider\" at ", "\nfail  Mask\n      ",
		"\nskip  AfterRestart: the provider's process can't be restarted",
		"\npass  Properties\n", "2 passed, 1 failed, 1 skipped\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	out.Reset()
	if code := run(t.Context(), []string{"--json", "--luns", o.luns, "--cases", "SecondImport|Stranger", o.socket},
		&out, &errs); code != 0 &&
		code != 1 {
		t.Errorf("exit %d", code)
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || len(r.Cases) != 2 || r.Kind != "hardware provider" ||
		r.Passed+r.Failed+r.Skipped != 2 {
		t.Errorf("%v: %s", err, &out)
	}
	for _, bad := range [][]string{{}, {"--cases", "(", o.socket}, {"--what", o.socket}, {o.socket}} {
		if code := run(t.Context(), bad, &out, &errs); code != 2 {
			t.Errorf("%q: exit %d", bad, code)
		}
	}
	if code := run(t.Context(), []string{filepath.Join(t.TempDir(), "none")}, &out, &errs); code != 1 {
		t.Errorf("no socket: exit %d", code)
	}
	if code := run(t.Context(), []string{"--help"}, &out, &errs); code != 0 {
		t.Errorf("--help: exit %d", code)
	}
}
