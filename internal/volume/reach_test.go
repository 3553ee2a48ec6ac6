package volume

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// elsewhere runs a script in a mount namespace of its own and keeps that alive until the end of the test.
func elsewhere(t *testing.T, script string) {
	t.Helper()
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec", script+"\necho ready\nexec sleep 600")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		time.Sleep(20 * time.Millisecond) // the namespace's mounts go a moment after its last process
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the other namespace said %q, %v", line, err)
	}
}

func TestOtherNamespace(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := scratch(t)
			device := attach(t, image(t, filepath.Join(dir, "v.img"), 128<<20))
			mkfs(t, kind, "far", device)
			point := filepath.Join(dir, "far away")
			if err := os.Mkdir(point, 0o755); err != nil {
				t.Fatal(err)
			}
			elsewhere(t, fmt.Sprintf("mount -t %s %s '%s'; echo x >'%s/file'", kind, device, point, point))
			h := New(Options{})
			v := find(t, h, device)
			if !v.Mounted || v.Name != device || len(v.MountPoints) != 0 || !strings.HasPrefix(v.Reach, "/proc/") {
				t.Fatalf("by device: %+v", v)
			}
			if by := find(t, h, "LABEL=far"); by.Key != v.Key {
				t.Errorf("by label: %+v", by)
			}
			if by := find(t, h, v.Reach); by.Key != v.Key {
				t.Errorf("by its path through /proc: %+v", by)
			}
			if got, err := MountsOf(device); err != nil || !slices.Contains(got, v.Reach) {
				t.Errorf("MountsOf = %q, %v", got, err)
			}
			f, err := h.Open(v)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if names, err := f.Readdirnames(0); err != nil || !slices.Contains(names, "file") {
				t.Errorf("the root has %q, %v", names, err)
			}
		})
	}
}

func TestOpenChecksWhatItOpened(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := scratch(t)
			_, point := fresh(t, dir, "first", kind)
			h := New(Options{})
			v := find(t, h, point)
			if f, err := h.Open(v); err != nil {
				t.Error(err)
			} else {
				f.Close()
			}
			second := attach(t, image(t, filepath.Join(dir, "second.img"), 128<<20))
			mkfs(t, kind, "second", second)
			mountAt(t, second, point, kind, 0, "")
			if f, err := h.Open(v); !errors.Is(err, vss.ErrObjectNotFound) {
				f.Close()
				t.Errorf("another file system is there now, and Open said %v", err)
			}
		})
	}
	if f, err := New(Options{}).Open(&Volume{Name: "x"}); !errors.Is(err, vss.ErrObjectNotFound) {
		f.Close()
		t.Errorf("not mounted: %v", err)
	}
}

func TestNesting(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := scratch(t)
			_, outer := fresh(t, dir, "outer", kind)
			pool := filepath.Join(outer, "pool")
			if err := os.Mkdir(pool, 0o755); err != nil {
				t.Fatal(err)
			}
			_, inner := fresh(t, pool, "inner", "ext4")
			_, beside := fresh(t, dir, "beside", "ext4")
			over := filepath.Join(dir, "over")
			for _, d := range []string{"up", "work", "low"} {
				if err := os.Mkdir(filepath.Join(inner, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			mountAt(
				t,
				"none",
				over,
				"overlay",
				0,
				fmt.Sprintf("lowerdir=%s/low,upperdir=%s/up,workdir=%s/work", inner, inner, inner),
			)
			h := New(Options{})
			o, i, b := find(t, h, outer), find(t, h, inner), find(t, h, beside)
			for _, c := range []struct {
				name   string
				vols   []*Volume
				writes []string
				bad    bool
			}{
				{"apart", []*Volume{o, b}, nil, false},
				{"one in the other", []*Volume{o, i}, nil, true},
				{"in either order", []*Volume{i, b, o}, nil, true},
				{"LUN above the pool", []*Volume{i}, []string{pool}, false},
				{"pool on the volume", []*Volume{o}, []string{pool}, true},
				{"record that isn't there yet", []*Volume{o}, []string{filepath.Join(pool, "new", "record.json")},
					true},
				{"below the pool", []*Volume{b, o}, []string{filepath.Join(inner, "pool2")}, true},
				{"overlay above the volume", []*Volume{i}, []string{filepath.Join(over, "record")}, true},
				{"pool is a device", []*Volume{o}, []string{i.Device}, true},
				{"elsewhere", []*Volume{o, b}, []string{"/proc", "/tmp"}, false},
			} {
				t.Run(c.name, func(t *testing.T) {
					err := h.CheckNesting(t.Context(), c.vols, c.writes)
					if c.bad != errors.Is(err, vss.ErrNestedVolumeLimit) || !c.bad && err != nil {
						t.Errorf("CheckNesting: %v", err)
					}
					var added error
					for i, v := range c.vols {
						added = errors.Join(added, h.CheckAdded(t.Context(), c.vols[:i], v, c.writes))
					}
					if c.bad != errors.Is(added, vss.ErrNestedVolumeLimit) || !c.bad && added != nil {
						t.Errorf("CheckAdded: %v", added)
					}
					if c.bad && vss.Hint(err) == "" {
						t.Error("no hint")
					}
				})
			}
		})
	}
}

// The file behind a loop device is found also where its path says nothing: deleted, or in another mount namespace.
func TestNestingByHiddenFile(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := scratch(t)
			_, outer := fresh(t, dir, "outer", kind)
			path := image(t, filepath.Join(outer, "gone.img"), 16<<20)
			device := attach(t, path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			h := New(Options{})
			if err := h.CheckNesting(t.Context(), []*Volume{find(t, h, outer), find(t, h, device)}, nil); !errors.Is(
				err,
				vss.ErrNestedVolumeLimit,
			) {
				t.Errorf("deleted file: %v", err)
			}
		})
		t.Run(kind+" in another namespace", func(t *testing.T) {
			dir := scratch(t)
			host := attach(t, image(t, filepath.Join(dir, "host.img"), 128<<20))
			mkfs(t, kind, "host", host)
			point := filepath.Join(dir, "m")
			if err := os.Mkdir(point, 0o755); err != nil {
				t.Fatal(err)
			}
			elsewhere(t, fmt.Sprintf("mount -t %s %s %s; truncate -s 16M %s/in.img", kind, host, point, point))
			h := New(Options{})
			v := find(t, h, host)
			device := attach(t, filepath.Join(v.Reach, "in.img"))
			if err := h.CheckNesting(t.Context(), []*Volume{v, find(t, h, device)}, nil); !errors.Is(
				err,
				vss.ErrNestedVolumeLimit,
			) {
				t.Errorf("file in another namespace: %v", err)
			}
		})
	}
}

func TestNestingThroughThreeFloors(t *testing.T) {
	dir := scratch(t)
	_, low := fresh(t, dir, "low", "xfs")
	_, middle := fresh(t, low, "middle", "btrfs")
	_, high := fresh(t, middle, "high", "ext4")
	h := New(Options{})
	err := h.CheckNesting(t.Context(), []*Volume{find(t, h, high), find(t, h, low)}, nil)
	if !errors.Is(err, vss.ErrNestedVolumeLimit) || !strings.Contains(err.Error(), high) ||
		!strings.Contains(err.Error(), low) {
		t.Errorf("CheckNesting: %v", err)
	}
}
