// Package enginetest is what tests of writers of databases have in common: volumes, held while they are copied, and a backup from
// the writer's side of the service.
package enginetest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

// FIFREEZE and FITHAW, which x/sys doesn't name.
const (
	fifreeze = 0xC0045877
	fithaw   = 0xC0045878
)

// size is that of a volume, in bytes. Nothing is allocated before it is used.
const size = 768 << 20

// Must fails the test for an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Volumes makes mounted file systems for the time of the test, and names a folder for sockets, which isn't there yet.
func Volumes(t testing.TB, kinds ...string) (points []string, run string) {
	t.Helper()
	lane.Host(t)
	dir := lane.Scratch(t)
	Must(t, os.Chmod(dir, 0o755)) // the server's account comes through
	for i, kind := range kinds {
		image := filepath.Join(dir, "image"+strconv.Itoa(i))
		f, err := os.Create(image)
		Must(t, err)
		Must(t, f.Truncate(size))
		device, err := loopdev.Attach(f, 0)
		Must(t, f.Close())
		Must(t, err)
		t.Cleanup(func() { free(t, func() error { return loopdev.Detach(device) }) })
		Run(t, "mkfs."+kind, "-q", device)
		point := filepath.Join(dir, "volume"+strconv.Itoa(i))
		Must(t, os.Mkdir(point, 0o755))
		Must(t, unix.Mount(device, point, kind, 0, ""))
		t.Cleanup(func() { free(t, func() error { return unix.Unmount(point, 0) }) })
		points = append(points, point)
	}
	return points, filepath.Join(dir, "run")
}

// patience is how long a volume may be in use by others.
const patience = 20 * time.Second

// free lets a volume or its device go. Others look at all volumes of the machine, and a mount namespace that is made meanwhile has
// them, too, for as long as it lives.
func free(t testing.TB, f func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(50 * time.Millisecond) {
		err := f()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			Must(t, err)
			return
		}
	}
}

// Run runs a program that must succeed.
func Run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// Held holds the volumes' writes while f runs.
func Held(t testing.TB, volumes []string, f func()) {
	t.Helper()
	for _, v := range volumes {
		d, err := os.Open(v)
		Must(t, err)
		defer d.Close()
		Must(t, unix.IoctlSetInt(int(d.Fd()), fifreeze, 0))
		defer func() { Must(t, unix.IoctlSetInt(int(d.Fd()), fithaw, 0)) }()
	}
	f()
}

// Elsewhere is a folder that isn't on the volumes, for the time of the test.
func Elsewhere(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-test-copy-")
	Must(t, err)
	Must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { Must(t, os.RemoveAll(dir)) })
	return dir
}

// Files are files of a copy, by their paths from the root: below Dir, as restic and others keep them.
type Files struct{ Dir string }

// Copy copies file sets, without what is excluded, as a backup program does; folders that are empty are left out.
func Copy(t testing.TB, sets, excludes []document.FileSet) Files {
	t.Helper()
	f := Files{Elsewhere(t)}
	for _, s := range sets {
		Must(t, os.MkdirAll(f.At(s.Path), 0o755))
		args := []string{s.Path + "/.", f.At(s.Path)}
		if s.FileSpec != "*" || !s.Recursive {
			all, err := filepath.Glob(filepath.Join(escape(s.Path), s.FileSpec))
			Must(t, err)
			if len(all) == 0 {
				continue
			}
			args = append(all, f.At(s.Path))
		}
		Run(t, "cp", append([]string{"-a"}, args...)...)
		Run(t, "chown", "--reference="+s.Path, f.At(s.Path))
		Run(t, "chmod", "--reference="+s.Path, f.At(s.Path))
	}
	for _, x := range excludes {
		all, err := filepath.Glob(filepath.Join(escape(f.At(x.Path)), x.FileSpec))
		Must(t, err)
		for _, path := range all {
			Must(t, os.RemoveAll(path))
		}
	}
	Run(t, "find", f.Dir, "-mindepth", "1", "-type", "d", "-empty", "-delete")
	return f
}

func escape(path string) string {
	return strings.NewReplacer("[", `\[`, "*", `\*`, "?", `\?`).Replace(path)
}

// At is where a path is in the copy.
func (f Files) At(path string) string { return filepath.Join(f.Dir, path) }

// Put puts the files of the sets back where they were.
func (f Files) Put(t testing.TB, sets []document.FileSet) {
	t.Helper()
	for _, s := range sets {
		if _, err := os.Stat(f.At(s.Path)); err == nil { // else it was empty
			Run(t, "cp", "-a", f.At(s.Path)+"/.", s.Path)
		}
	}
}
