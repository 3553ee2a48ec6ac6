package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// imageProvider is the name of the provider in examples/provider.
const imageProvider = "Image Files"

// imageHost is a host with a volume in an image file, and the example provider, which copies it.
type imageHost struct {
	*world
	program string // the provider's
	folder  string // of the images, on an XFS
	store   string
	volume  string
	cmd     *exec.Cmd
}

func newImageHost(t *testing.T) *imageHost {
	t.Helper()
	h := &imageHost{world: newWorld(t)}
	h.configure("[service]\nidle_exit = \"1h\"\n")
	h.program = filepath.Join(h.dir, "provider")
	h.do("go", "build", "-o", h.program, "github.com/stillpoint-vss/stillpoint/examples/provider")
	h.folder = pooltest.Folder(t, "xfs", 512<<20)
	h.store = filepath.Join(h.folder, "copies")
	h.volume = h.addVolume(t, "volume")
	t.Cleanup(func() { // before the file systems go
		h.kill()
		h.end()
		for _, f := range h.files() { // of a test that failed
			for _, d := range strings.Fields(h.do("losetup", "--noheadings", "--output", "NAME", "--associated", f)) {
				h.do("losetup", "--detach", d)
			}
		}
	})
	return h
}

// addVolume makes a volume in an image file and mounts it.
func (h *imageHost) addVolume(t *testing.T, name string) (point string) {
	t.Helper()
	image, point := filepath.Join(h.folder, name+".img"), filepath.Join(h.dir, name)
	h.do("truncate", "--size", "32M", image)
	h.do("mkfs.ext4", "-q", image)
	device := h.do("losetup", "--find", "--show", image)
	t.Cleanup(func() { h.do("losetup", "--detach", device) })
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	h.do("mount", device, point)
	t.Cleanup(func() { h.do("umount", point) })
	return point
}

// do runs a program and returns what it prints.
func (h *imageHost) do(args ...string) string {
	h.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		h.Errorf("%v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// start starts the provider, with its socket in a folder, and returns when it listens.
func (h *imageHost) start(sockets string) {
	h.Helper()
	if err := os.MkdirAll(sockets, 0o711); err != nil {
		h.Fatal(err)
	}
	path := filepath.Join(sockets, "images.sock")
	before, _ := os.Stat(path)
	h.cmd = exec.Command(h.program, "--sockets", sockets, "--store", h.store)
	h.cmd.Stderr = os.Stderr
	if err := h.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		now, err := os.Stat(path)
		if err == nil && (before == nil || !os.SameFile(before, now)) {
			return
		}
		if time.Now().After(end) {
			h.Fatalf("the provider doesn't listen: %v", err)
		}
	}
}

// kill kills the provider's process, if it runs.
func (h *imageHost) kill() {
	if h.cmd != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		h.cmd = nil
	}
}

// listed returns the names of the providers.
func (h *imageHost) listed() []string {
	h.Helper()
	var all []struct{ Name string }
	h.vss(&all, "list", "providers")
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	return names
}

// files returns the names of the copies in the store.
func (h *imageHost) files() []string {
	all, _ := filepath.Glob(filepath.Join(h.store, "{*}.{*}"))
	return all
}

// content writes a file into the volume.
func (h *imageHost) content(text string) {
	h.Helper()
	h.write(filepath.Join(h.volume, "file"), text)
}

// has checks a file of a copy.
func (h *imageHost) has(c copyDoc, text string) {
	h.Helper()
	to := filepath.Join(h.run, "exposed", "copy")
	h.vss(nil, "expose", c.ID, to)
	b, err := os.ReadFile(filepath.Join(to, "file"))
	if err != nil || string(b) != text {
		h.Errorf("the copy has %q, %v; want %q", b, err, text)
	}
	h.vss(nil, "unexpose", c.ID)
}

// TestProviderExample uses the example provider through vss: it is listed at once, its copies are made, read, kept over
// the death of its process, refused to be broken, and deleted.
func TestProviderExample(t *testing.T) {
	h := newImageHost(t)
	sockets := filepath.Join(h.run, "providers")
	if names := h.listed(); slices.Contains(names, imageProvider) {
		t.Fatalf("listed before it runs: %v", names)
	}
	h.start(sockets)
	if names := h.listed(); !slices.Contains(names, imageProvider) {
		t.Fatalf("not listed: %v", names)
	}
	h.content("one")
	set := h.create("--no-writers", h.volume)
	if len(set.ShadowCopies) != 1 || set.ShadowCopies[0].ProviderName != imageProvider {
		t.Fatalf("created %+v", set.ShadowCopies)
	}
	h.content("two")
	h.has(set.ShadowCopies[0], "one")
	if n := len(h.files()); n != 1 {
		t.Errorf("%d files in the store, want 1", n)
	}
	h.refused("VSS_E_PROVIDER_VETO", "break", set.SetID)
	h.kill()
	if names := h.listed(); slices.Contains(names, imageProvider) {
		t.Errorf("listed after its death: %v", names)
	}
	h.start(sockets)
	if names := h.listed(); !slices.Contains(names, imageProvider) {
		t.Errorf("the next process isn't listed: %v", names)
	}
	h.has(set.ShadowCopies[0], "one")
	h.stop(unix.SIGKILL)
	h.has(set.ShadowCopies[0], "one") // at another service
	h.vss(nil, "delete", set.SetID)
	if files, all := h.files(), h.shadows(); len(files)+len(all) != 0 {
		t.Errorf("left after delete: %v, %v", files, all)
	}
}

// TestProviderKilled kills the provider's process at each call of a creation: the set fails, the volume isn't held, and
// the next process deletes what is left.
func TestProviderKilled(t *testing.T) {
	h := newImageHost(t)
	private := filepath.Join(h.dir, "p")
	h.listed() // starts the service
	h.content("one")
	for _, method := range []string{
		"BeginPrepareSnapshot", "EndPrepareSnapshots", "WritePaths", "PreCommitSnapshots", "CommitSnapshots",
		"PostCommitSnapshots", "Describe", "Surface", "PreFinalCommitSnapshots", "PostFinalCommitSnapshots",
	} {
		t.Run(method, func(t *testing.T) {
			in := *h
			w := *h.world
			w.TB, in.world = t, &w
			t.Cleanup(in.kill)
			in.start(private)
			log := &providertest.Log{}
			stop := in.pass(t, private, log)
			if names := in.listed(); !slices.Contains(names, imageProvider) {
				t.Fatalf("not listed: %v", names)
			}
			log.Before(func(_ context.Context, c providertest.Call) error {
				if c.Method == method {
					in.kill()
				}
				return nil
			})
			in.refused("VSS_E_UNEXPECTED_PROVIDER_ERROR", "create", "--no-writers", in.volume)
			if !slices.Contains(
				log.Methods(vss.ProviderID{GUID: vss.MustGUID("{0c7b0f5e-6a55-4d0a-9f3e-8f3c5f1f6b21}")}),
				method,
			) {
				t.Fatalf("%s wasn't called", method)
			}
			in.content(method) // hangs if the volume is still held
			stop()
			in.start(private)
			log.Before(nil)
			in.pass(t, private, log)
			if names := in.listed(); !slices.Contains(names, imageProvider) {
				t.Fatalf("the next process isn't listed: %v", names)
			}
			if files, all := in.files(), in.shadows(); len(files)+len(all) != 0 {
				t.Errorf("left: %v, %v", files, all)
			}
			set := in.create("--no-writers", in.volume)
			in.has(set.ShadowCopies[0], method)
			in.vss(nil, "delete", set.SetID)
		})
	}
}

// pass lets the provider at a private socket join through this process, which records its calls.
func (h *imageHost) pass(t *testing.T, private string, log *providertest.Log) (stop func()) {
	t.Helper()
	p, err := provider.Connect(t.Context(), filepath.Join(private, "images.sock"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	name := fmt.Sprintf("passed-%d.sock", time.Now().UnixNano())
	return providertest.Serve(
		t,
		filepath.Join(h.run, "providers", name),
		providertest.RecordSoftware(p.(provider.Software), log),
	)
}

// TestConform runs vss-conform, as the author of a provider or a writer does, on the examples.
func TestConform(t *testing.T) {
	h := newImageHost(t)
	bin := filepath.Join(h.dir, "bin")
	h.do("go", "build", "-o", bin+"/", "github.com/stillpoint-vss/stillpoint/cmd/vss-conform",
		"github.com/stillpoint-vss/stillpoint/examples/writer")
	conform := func(t *testing.T, args ...string) (r struct {
		Kind                    string
		Passed, Failed, Skipped int
		Cases                   []struct {
			Name, Outcome string
			Messages      []string
		}
	}) {
		cmd := exec.Command(filepath.Join(bin, "vss-conform"), append([]string{"--json"}, args...)...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if jerr := json.Unmarshal(out, &r); err != nil || jerr != nil {
			t.Errorf("%v, %v: %s %s", err, jerr, out, &errs)
		}
		for _, c := range r.Cases {
			if c.Outcome != "pass" {
				t.Logf("%s %s: %q", c.Outcome, c.Name, c.Messages)
			}
		}
		return r
	}
	t.Run("provider", func(t *testing.T) {
		second := h.addVolume(t, "second")
		private, pid := filepath.Join(h.dir, "p"), filepath.Join(h.dir, "pid")
		start := fmt.Sprintf(
			"%s --sockets %s --store %s >/dev/null 2>&1 & echo $! >%s",
			h.program,
			private,
			h.store,
			pid,
		)
		if err := os.Mkdir(private, 0o700); err != nil {
			t.Fatal(err)
		}
		h.do("/bin/sh", "-c", start)
		defer h.do("/bin/sh", "-c", "kill -9 $(cat "+pid+")")
		socket := filepath.Join(private, "images.sock")
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(socket); err == nil || time.Now().After(end) {
				break
			}
		}
		r := conform(t, "--volume", h.volume, "--volume", second, "--copies", "ls "+h.store+" | grep -vc json || true",
			"--restart", "kill -9 $(cat "+pid+"); while kill -0 $(cat "+pid+"); do sleep 0.01; done; "+start, socket)
		if r.Kind != "software provider" || r.Failed != 0 || r.Skipped != 0 || r.Passed < 20 {
			t.Errorf("%s: %d passed, %d failed, %d skipped", r.Kind, r.Passed, r.Failed, r.Skipped)
		}
		if left, err := os.ReadDir(h.store); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	t.Run("writer", func(t *testing.T) {
		sockets, data := filepath.Join(h.dir, "w"), filepath.Join(h.dir, "notes")
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(bin, "writer"), "--sockets", sockets, "--data", data)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		socket := filepath.Join(sockets, "notes.sock")
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(socket); err == nil || time.Now().After(end) {
				break
			}
		}
		r := conform(t, socket)
		if r.Kind != "writer" || r.Failed != 0 || r.Skipped != 1 || r.Passed < 10 {
			t.Errorf("%s: %d passed, %d failed, %d skipped", r.Kind, r.Passed, r.Failed, r.Skipped)
		}
	})
}
