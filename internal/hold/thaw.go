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

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	guardsWithin = 2 * time.Second  // for guards whose coordinator died to thaw by themselves, before ThawAll ends stopped ones
	deadWithin   = 20 * time.Second // for their flush, before ThawAll comes back without them
)

// ThawAll releases what runDir/held lists, and returns the names of the volumes that were frozen. A hold whose coordinator
// lives is left alone. If only guards live they are left to do it; ended if they don't, as when they are stopped. A record
// is removed when all it lists has been looked at.
//
// Errors (those of all volumes, joined; the others are thawed all the same): VSS_E_OBJECT_NOT_FOUND for a volume that is
// mounted nowhere any more: if it was unmounted while it was frozen it still is, and nobody can reach it but by mounting it
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
	boot, err := bootID()
	if err != nil {
		return nil, vss.E(op, vss.ErrUnexpected, err)
	}
	var thawed []string
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // its hold has just ended
		}
		if err != nil {
			errs = append(errs, vss.E(op, vss.ErrUnexpected, err).On(path))
			continue
		}
		r, err := parseRecord(b)
		if errors.Is(err, errNewer) {
			errs = append(errs, vss.E(op, vss.ErrUnexpected, err).On(path).Advise("run the newer program's `vssd thaw`"))
			continue
		}
		if err != nil && writing(path) {
			continue // its hold is about to begin
		}
		if err == nil && r.Boot == boot {
			if r.Coordinator.holds() {
				continue
			}
			gone := r.endGuards()
			for _, v := range r.Volumes {
				was, err := v.thaw()
				if was {
					thawed = append(thawed, v.Name)
				}
				if err != nil {
					errs = append(errs, err)
				}
			}
			if !gone { // the record stays
				errs = append(errs, vss.E(op, vss.ErrUnexpected, errors.New("a guard is still waiting for a flush")).On(path).Advise("it thaws when that is over; run `vssd thaw` again then"))
				continue
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, vss.E(op, vss.ErrUnexpected, err).On(path))
		}
	}
	return thawed, errors.Join(errs...)
}

// Left are the names of the volumes that runDir/held lists for a coordinator that is dead: ThawAll releases them. Errors:
// VSS_E_UNEXPECTED for what can't be read.
func Left(runDir string) ([]string, error) {
	const op = "Thaw"
	dir := filepath.Join(runDir, heldDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, vss.E(op, vss.ErrUnexpected, err).On(dir)
	}
	boot, err := bootID()
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

// writing says whether the process that a record is named after is still there to finish it.
func writing(path string) bool {
	pid, _, _ := strings.Cut(filepath.Base(path), "-")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	_, err = processOf(n)
	return err == nil
}

// endGuards waits until the record's guards are gone and says whether they are. It kills those that are stopped. A hold of
// theirs may be flushing, and only after their end it is sure that nothing gets frozen any more.
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

// kill ends exactly this process, if it is stopped.
func (p process) kill() {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err == nil && stopped(stat) && p.alive() { // so the descriptor is of this one
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// thaw finds a way to the file system and thaws it until it isn't frozen. It says whether it was.
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
			return was, vss.E(op, vss.ErrUnexpected, err).On(v.Name).Advise("try `fsfreeze --unfreeze` on it")
		}
	}
}

// open opens any mount of the file system, in whichever mount namespace.
func (v heldVolume) open() (*os.File, error) {
	const op = "Thaw"
	var failed error
	for _, pid := range namespaces() {
		prefix := ""
		if pid != "self" {
			prefix = "/proc/" + pid + "/root"
		}
		mounts := mountsOf(pid)
		slices.Reverse(mounts) // the last one on a mount point is the one seen
		for _, m := range mounts {
			if device(m) != v.Device {
				continue
			}
			f, err := openMount(prefix+m.Mountpoint, m.ID)
			if err == nil {
				return f, nil
			}
			failed = fmt.Errorf("%s: %w", prefix+m.Mountpoint, err)
		}
	}
	if failed != nil {
		return nil, vss.E(op, vss.ErrUnexpected, failed).On(v.Name).Advise("unmount what lies over it, then run `vssd thaw` again")
	}
	return nil, vss.E(op, vss.ErrObjectNotFound, fmt.Errorf("%s (%s %s) is mounted nowhere: if it was unmounted while it was held it is still frozen", v.Source, v.Type, v.Device)).
		On(v.Name).Advise("mount it again and run `fsfreeze --unfreeze` on it")
}

// openMount opens the root of exactly this mount. It looks before it opens: the mount may be of a device node or a pipe.
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
		return nil, errors.New("another mount lies over it")
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
