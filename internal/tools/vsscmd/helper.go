package vsscmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
)

// helperName is argument 0 of the helper of exec, backup. Argument 1 is the number of the descriptor from which it
// reads its task.
const helperName = "vss-exec-helper"

// helperTask is the task of the helper.
type helperTask struct {
	Overlays []overlay
	Names    []string // volumes as the caller named them
	Command  []string
	Lists    *listTask // nil: make no lists of files
}

// overlay is a copy that is to be mounted in place of Volume: at every mount of the file systems Devices.
type overlay struct {
	Volume  string
	Devices []string // MAJ:MIN of the originals; none if they are not mounted
	Copies  []string // MAJ:MIN of mounted copies of the volume, which may be in the place of the original
	Own     string   // MAJ:MIN of this copy
	Root    string   // folder of the file system that is the volume
	FD      int      // descriptor of the copy's root, mounted nowhere; 0: use Path
	Path    string   // where the service mounted the volume's copy
}

func isHelper(args []string) bool { return len(args) == 2 && args[0] == helperName }

// runHelper mounts the copies in place of their volumes, in the mount namespace of this process, and executes the
// command.
func runHelper(descriptor string) int {
	fail := func(code int, err error) int {
		fmt.Fprintf(os.Stderr, "vss: exec: %v\n", err)
		return code
	}
	task, err := readTask(descriptor)
	if err != nil {
		return fail(cli.ExitTool, fmt.Errorf("no task: %w; this program is started by `vss exec`", err))
	}
	here, err := os.Getwd()
	if err != nil {
		here = "/"
	}
	lists, err := task.Lists.read()
	var copies map[uint64]bool
	if err == nil {
		copies, err = enter(task, lists.shared())
	}
	if err == nil {
		err = lists.write(copies)
	}
	if err != nil {
		return fail(cli.ExitTool, err)
	}
	// By its path, so that a directory in a volume becomes that in the copy.
	if err := os.Chdir(here); err != nil {
		fmt.Fprintf(os.Stderr, "vss: warning: %s is not in the copies; the command is started in /\n", here)
		if err := os.Chdir("/"); err != nil {
			return fail(cli.ExitTool, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fail(cli.ExitTool, err)
	}
	path, err := exec.LookPath(task.Command[0])
	if err != nil {
		return fail(cli.NotRunCode(err), err)
	}
	err = unix.Exec(path, task.Command, os.Environ())
	return fail(cli.NotRunCode(err), fmt.Errorf("%s: %w", path, err))
}

// readTask reads the task from the descriptor with this number. The command gets none of the helper's descriptors.
func readTask(descriptor string) (task helperTask, err error) {
	n, err := strconv.Atoi(descriptor)
	if err != nil {
		return task, err
	}
	in := os.NewFile(uintptr(n), "task")
	if in == nil {
		return task, fmt.Errorf("descriptor %s: %w", descriptor, os.ErrInvalid)
	}
	defer in.Close()
	if err := json.NewDecoder(in).Decode(&task); err != nil {
		return task, err
	}
	if len(task.Command) == 0 {
		return task, errors.New("no command")
	}
	for _, o := range task.Overlays {
		if o.FD > 0 {
			unix.CloseOnExec(o.FD)
		}
	}
	return task, nil
}

// enter mounts the copies in place of their volumes, and returns the device numbers of what they show. The shared
// directories remain visible below them.
func enter(task helperTask, shared []string) (map[uint64]bool, error) {
	// Mounts made here are not visible outside, but what the service unmounts outside is unmounted here as well.
	if err := mount.KeepPrivate(); err != nil {
		return nil, fmt.Errorf("make the mounts private: %w", err)
	}
	mounts := mount.List()
	p, err := plan(mounts, visible(mounts), task.Overlays)
	if err == nil {
		err = checkNames(task.Names, task.Overlays)
	}
	if err != nil {
		return nil, err
	}
	for _, m := range p.hidden {
		fmt.Fprintf(os.Stderr, "vss: warning: %s is not in the set and is hidden from the command\n", m)
	}
	live, err := openShared(p, shared)
	if err != nil {
		return nil, err
	}
	// A copy may hide what leads to another one, so open all of them first.
	files := make([]*os.File, len(p.places))
	for i := range task.Overlays {
		if err := open(&task.Overlays[i], i, p.places, files); err != nil {
			return nil, err
		}
	}
	copies := map[uint64]bool{}
	for i, b := range p.places { // the root is the first
		var st unix.Stat_t
		if err := unix.Fstat(int(files[i].Fd()), &st); err != nil {
			return nil, err
		}
		copies[st.Dev] = true
		if err := mount.Attach(files[i], b.target); err != nil {
			return nil, fmt.Errorf("show the copy: %w", err)
		}
		if b.target == "/" {
			err := errors.Join(unix.Fchdir(int(files[i].Fd())), unix.Chroot("."))
			if err != nil {
				return nil, fmt.Errorf("make the copy the root: %w", err)
			}
		}
	}
	for _, dir := range live {
		if err := show(dir); err != nil {
			return nil, err
		}
	}
	return copies, nil
}

// open opens the parts of the overlay with this index that the places show.
func open(o *overlay, index int, places []place, files []*os.File) error {
	var at []int
	var parts []string
	for i, p := range places {
		if p.overlay == index {
			at, parts = append(at, i), append(parts, p.part)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	var opened []*os.File
	var err error
	if o.FD > 0 {
		opened, err = mount.Parts(os.NewFile(uintptr(o.FD), o.Volume), parts)
	} else {
		opened, err = o.openPath(parts)
	}
	if err != nil {
		var which *os.PathError
		if errors.As(err, &which) && errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the copy of %s doesn't contain %s, which is mounted elsewhere and would show live "+
				"data: unmount it, or run the command where it isn't mounted", o.Volume, which.Path)
		}
		return fmt.Errorf("open the copy of %s: %w", o.Volume, err)
	}
	for i, f := range opened {
		files[at[i]] = f
	}
	return nil
}

// openPath opens parts of the copy where the service mounted it, for a caller that gets no descriptor.
func (o *overlay) openPath(parts []string) ([]*os.File, error) {
	at, err := mount.Of(o.Path)
	if err != nil {
		return nil, err
	}
	if at.Device != o.Own {
		return nil, fmt.Errorf("%s doesn't show it in this mount namespace: run the command as root", o.Path)
	}
	dir, err := mount.OpenFolder(o.Path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	for i, p := range parts {
		below, ok := strings.CutPrefix(p+"/", strings.TrimSuffix(o.Root, "/")+"/")
		if !ok {
			return nil, fmt.Errorf("%s of its file system is mounted, too: run the command as root", p)
		}
		parts[i] = "/" + below
	}
	return mount.PartsHere(dir, parts)
}

// checkNames returns an error for a path that the caller named as a volume of the set, and that isn't on one in this
// mount namespace: the command would read something else.
func checkNames(names []string, overlays []overlay) error {
	for _, n := range names {
		if !filepath.IsAbs(n) {
			continue
		}
		real, err := filepath.EvalSymlinks(n)
		if err != nil {
			return fmt.Errorf("%s of the service isn't there in this mount namespace: %w", n, err)
		}
		if st, err := os.Stat(real); err == nil && st.Mode()&os.ModeDevice != 0 {
			continue
		}
		at, err := mount.Of(real)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(overlays, func(o overlay) bool {
			return slices.Contains(o.Devices, at.Device) || slices.Contains(o.Copies, at.Device)
		}) {
			return fmt.Errorf("%s lies on %s (%s) here, which is not the volume that the service copied: "+
				"run the command in the mount namespace of the service", n, at.Point, at.Source)
		}
	}
	return nil
}

// openShared opens the directories that a copy would hide.
func openShared(p mountPlan, shared []string) ([]*os.File, error) {
	var out []*os.File
	for _, dir := range shared {
		if !slices.ContainsFunc(p.places, func(b place) bool { return dir == b.target || below(dir, b.target) }) {
			continue
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
		out = append(out, os.NewFile(uintptr(fd), dir))
	}
	return out, nil
}

// show mounts a shared directory on top of a copy, at its own path. If the copy does not contain the directory, because
// it was on another volume or created later, it is created in a tmpfs, as the copy is read-only.
func show(dir *os.File) error {
	target := dir.Name()
	err := mount.Show(dir, target)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	above := filepath.Dir(target)
	for above != "/" {
		if _, err := os.Stat(above); err == nil {
			break
		}
		above = filepath.Dir(above)
	}
	if entries, err := os.ReadDir(above); err != nil || len(entries) > 0 {
		return fmt.Errorf("show %s: the copy has no such directory: %w", target, errors.Join(err, unix.ENOENT))
	}
	if err := mount.Memory(above, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", target, err)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return mount.Show(dir, target)
}

// place is where a part of a copy is mounted.
type place struct {
	overlay int    // index
	part    string // path from the root of the file system
	target  string
}

type mountPlan struct {
	places []place  // in the order of mounting
	hidden []string // mount points that are hidden from the command
}

// visible returns a function that reports which mount is on top at a path.
func visible(mounts []mount.Info) func(path string) (mount.Info, bool) {
	return func(path string) (mount.Info, bool) {
		at, err := mount.Of(path)
		return at, err == nil && slices.ContainsFunc(mounts, func(m mount.Info) bool { return m.ID == at.ID })
	}
}

// plan determines which part of which copy is mounted where: at each mount of an original, of any part of its file
// system. A mount that another one covers is left out, unless that is a copy of the same volume. It returns an error if
// an original isn't mounted in this namespace, where the command would see something else or nothing at its path. A
// volume that isn't mounted anywhere has no place.
func plan(
	mounts []mount.Info, top func(path string) (mount.Info, bool), overlays []overlay,
) (p mountPlan, err error) {
	placed := make([]bool, len(overlays))
	for _, m := range mounts {
		i := overlayOf(m, overlays)
		if i < 0 {
			continue
		}
		on, ok := top(m.Point)
		if !ok || on.ID != m.ID && !slices.Contains(overlays[i].Copies, on.Device) {
			continue
		}
		for j, o := range overlays { // of one file system several subvolumes may be in the set
			placed[j] = placed[j] || slices.Contains(o.Devices, m.Device)
		}
		b := place{i, m.Root, m.Point}
		p.places = slices.DeleteFunc(p.places, func(o place) bool { return o.target == b.target })
		p.places = append(p.places, b)
	}
	for i, o := range overlays {
		if !placed[i] && len(o.Devices) > 0 {
			return p, fmt.Errorf("%s isn't mounted in this mount namespace, so its copy has no place: run the command "+
				"in the mount namespace of the service, or mount the volume here", o.Volume)
		}
	}
	slices.SortStableFunc(p.places, func(a, b place) int { return len(a.target) - len(b.target) })
	for _, m := range mounts {
		covered, replaced := false, false
		for _, b := range p.places {
			covered = covered || m.Point != "/" && below(m.Point, b.target)
			replaced = replaced || b.target == m.Point
		}
		own := slices.ContainsFunc(overlays, func(o overlay) bool { return o.Own == m.Device })
		if covered && !replaced && !own && !slices.Contains(p.hidden, m.Point) {
			p.hidden = append(p.hidden, m.Point)
		}
	}
	return p, nil
}

// overlayOf returns the index of the overlay for a mount, -1 for none: of several on one file system that of the
// innermost folder.
func overlayOf(m mount.Info, overlays []overlay) int {
	best := -1
	for i, o := range overlays {
		if !slices.Contains(o.Devices, m.Device) {
			continue
		}
		within := o.Root == m.Root || below(m.Root, o.Root)
		if best < 0 || within && len(o.Root) > len(overlays[best].Root) {
			best = i
		}
	}
	return best
}
