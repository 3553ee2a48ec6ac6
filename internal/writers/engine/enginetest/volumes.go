// Package enginetest supports tests of database writers: with volumes that are held while they are copied, and with a
// backup session as the service runs it.
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
	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// size of a volume in bytes. Space is allocated only when it is used.
const size = 768 << 20

// Must fails the test if err isn't nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Volumes creates and mounts file systems for the duration of the test. It also returns a folder for sockets, which
// doesn't exist yet.
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

// patience is how long a volume may be in use by other processes.
const patience = 20 * time.Second

// free unmounts a volume or detaches its device. Other programs examine all volumes of the machine, and a mount
// namespace created meanwhile keeps them mounted for its lifetime.
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
		Must(t, unix.IoctlSetInt(int(d.Fd()), mount.FIFREEZE, 0))
		defer func() { Must(t, unix.IoctlSetInt(int(d.Fd()), mount.FITHAW, 0)) }()
	}
	f()
}

// Elsewhere returns a folder outside the volumes, for the duration of the test.
func Elsewhere(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-test-copy-")
	Must(t, err)
	Must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { Must(t, os.RemoveAll(dir)) })
	return dir
}

// Files are the files of a copy, by absolute path below Dir, as restic and others store them.
type Files struct{ Dir string }

// Copy copies file sets without the excluded files, as a backup program does; empty folders are omitted.
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

// At returns the location of a path in the copy.
func (f Files) At(path string) string { return filepath.Join(f.Dir, path) }

// Put copies the files of the sets back to their places.
func (f Files) Put(t testing.TB, sets []document.FileSet) {
	t.Helper()
	for _, s := range sets {
		if _, err := os.Stat(f.At(s.Path)); err == nil { // else it was empty
			Run(t, "cp", "-a", f.At(s.Path)+"/.", s.Path)
		}
	}
}
