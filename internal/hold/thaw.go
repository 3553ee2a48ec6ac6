package hold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/boot"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	// for guards of a dead coordinator to thaw by themselves, before ThawAll kills stopped ones
	guardsWithin = 2 * time.Second
	deadWithin   = 20 * time.Second // for their flush, before ThawAll returns without them
)

// ThawAll releases what runDir/held lists, and returns the names of the volumes that were frozen. A hold whose
// coordinator is alive is left alone. If only guards are alive, they get time to thaw, and are killed if they are
// stopped. A record is removed after everything in it has been processed.
//
// Errors are joined, and don't prevent thawing the other volumes: VSS_E_OBJECT_NOT_FOUND for a volume that isn't
// mounted any more, which is still frozen if it was unmounted in that state, and can be reached only by mounting it
// again; VSS_E_UNEXPECTED if it can't be opened or thawed.
func ThawAll(runDir string) ([]string, error) {
	const op = "Thaw"
	dir := filepath.Join(runDir, heldDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, vss.E(op, vss.ErrUnexpected, err).On(dir)
	}
	boot, err := boot.ID()
	if err != nil {
		return nil, vss.E(op, vss.ErrUnexpected, err)
	}
	var thawed []string
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		names, done, err := thawRecord(path, boot)
		thawed, errs = append(thawed, names...), append(errs, err)
		if !done {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, vss.E(op, vss.ErrUnexpected, err).On(path))
		}
	}
	return thawed, errors.Join(errs...)
}

// thawRecord releases what the record at path lists, unless its coordinator is alive. It returns the volumes that were
// frozen, and whether the record can be removed.
func thawRecord(path, boot string) (thawed []string, done bool, err error) {
	const op = "Thaw"
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil // its hold has just ended
	}
	if err != nil {
		return nil, false, vss.E(op, vss.ErrUnexpected, err).On(path)
	}
	r, err := parseRecord(b)
	switch {
	case errors.Is(err, errNewer):
		return nil, false, vss.E(op, vss.ErrUnexpected, err).On(path).Advise("run the newer program's `vssd thaw`")
	case err != nil:
		return nil, !writing(path), nil // if it is being written, its hold is about to begin
	case r.Boot != boot:
		return nil, true, nil
	case r.Coordinator.holds():
		return nil, false, nil
	}
	done = r.endGuards()
	var errs []error
	for _, v := range r.Volumes {
		was, err := v.thaw()
		if was {
			thawed = append(thawed, v.Name)
		}
		errs = append(errs, err)
	}
	if !done {
		errs = append(errs, vss.E(op, vss.ErrUnexpected, errors.New("a guard is still waiting for a flush")).On(path).
			Advise("the volume is thawed when that ends; then run `vssd thaw` again"))
	}
	return thawed, done, errors.Join(errs...)
}

// Left returns the names of the volumes that runDir/held lists for dead coordinators, which ThawAll would release.
// Errors: VSS_E_UNEXPECTED for what can't be read.
func Left(runDir string) ([]string, error) {
	const op = "Thaw"
	dir := filepath.Join(runDir, heldDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, vss.E(op, vss.ErrUnexpected, err).On(dir)
	}
	boot, err := boot.ID()
	if err != nil {
		return nil, vss.E(op, vss.ErrUnexpected, err)
	}
	var names []string
	var errs []error
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // its hold has just ended
		}
		r, err := parseRecord(b)
		if err != nil && !writing(e.Name()) {
			errs = append(errs, vss.E(op, vss.ErrUnexpected, err).On(e.Name()))
		}
		if err == nil && r.Boot == boot && !r.Coordinator.holds() {
			for _, v := range r.Volumes {
				names = append(names, v.Name)
			}
		}
	}
	return names, errors.Join(errs...)
}

// writing reports whether the process after which a record is named still exists and may complete it.
func writing(path string) bool {
	pid, _, _ := strings.Cut(filepath.Base(path), "-")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	_, err = processOf(n)
	return err == nil
}

// endGuards waits until the record's guards have ended and reports whether they have. It kills stopped ones. A guard
// may be flushing, and only after its end nothing can be frozen any more.
func (r record) endGuards() bool {
	for began := time.Now(); ; time.Sleep(retry / 5) {
		left := slices.DeleteFunc(slices.Clone(r.Guards), func(p process) bool { return !p.alive() })
		switch since := time.Since(began); {
		case len(left) == 0:
			return true
		case since > deadWithin:
			return false
		case since > guardsWithin:
			for _, p := range left {
				p.kill()
			}
		}
	}
}

// kill kills exactly this process, if it is stopped.
func (p process) kill() {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err == nil && stopped(stat) && p.alive() { // so the descriptor refers to this process
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// thaw opens the file system and thaws it until it isn't frozen. It reports whether it was.
func (v heldVolume) thaw() (bool, error) {
	const op = "Thaw"
	f, err := v.open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	for was := false; ; was = true {
		switch err := thawSuper(int(f.Fd())); err {
		case nil:
		case syscall.EINVAL:
			return was, nil
		default:
			return was, vss.E(op, vss.ErrUnexpected, err).On(v.Name).Advise("run `fsfreeze --unfreeze` on it")
		}
	}
}

// open opens any mount of the file system, in any mount namespace.
func (v heldVolume) open() (*os.File, error) {
	const op = "Thaw"
	var failed error
	for _, pid := range namespaces() {
		prefix := ""
		if pid != "self" {
			prefix = "/proc/" + pid + "/root"
		}
		mounts := mountsOf(pid)
		slices.Reverse(mounts) // the last one on a mount point is the visible one
		for _, m := range mounts {
			if !v.shows(m) {
				continue
			}
			f, err := openMount(prefix+m.Mountpoint, m.ID)
			if err == nil && v.same(f) {
				return f, nil
			}
			if err == nil {
				_ = f.Close()
				continue // another file system has its device number
			}
			failed = fmt.Errorf("%s: %w", prefix+m.Mountpoint, err)
		}
	}
	if failed != nil {
		return nil, vss.E(op, vss.ErrUnexpected, failed).
			On(v.Name).
			Advise("unmount what is mounted over it, then run `vssd thaw` again")
	}
	return nil, vss.E(op, vss.ErrObjectNotFound,
		fmt.Errorf("%s (%s %s) isn't mounted; if it was unmounted while it was held, it is still frozen", v.Source,
			v.Type, v.Device)).
		On(v.Name).
		Advise("mount it again and run `fsfreeze --unfreeze` on it")
}

// openMount opens the root of exactly this mount. It checks before opening, as the mount may be of a device node or a
// pipe.
func openMount(path string, id int) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	look := os.NewFile(uintptr(fd), path)
	defer look.Close()
	got, err := mountID(look)
	if err != nil {
		return nil, err
	}
	if got != id {
		return nil, errors.New("another file system is mounted over it")
	}
	st, err := look.Stat()
	if err != nil {
		return nil, err
	}
	if !st.IsDir() && !st.Mode().IsRegular() {
		return nil, errors.New("neither a directory nor a file")
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}
