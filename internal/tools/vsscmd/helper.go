package vsscmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
)

// helperName is argument 0 of the helper of exec, backup.
const helperName = "vss-exec-helper"

// helperTask is the task of the helper, which it reads from descriptor 3.
type helperTask struct {
	Overlays []overlay
	Command  []string
	Lists    *listTask // nil: make no lists of files
}

// overlay is a copy, mounted at Path, that is to be mounted in place of Volume.
type overlay struct{ Volume, Path string }

func isHelper(args []string) bool { return len(args) == 1 && args[0] == helperName }

// runHelper mounts the copies in place of their volumes, in the mount namespace of this process, and executes the
// command.
func runHelper() int {
	fail := func(code int, err error) int {
		fmt.Fprintf(os.Stderr, "vss: exec: %v\n", err)
		return code
	}
	var task helperTask
	in := os.NewFile(3, "task")
	err := json.NewDecoder(in).Decode(&task)
	_ = in.Close()
	if err != nil || len(task.Command) == 0 {
		return fail(cli.ExitTool, fmt.Errorf("no task: %w",
			errors.Join(err, errors.New("this program is started by `vss exec`"))))
	}
	here, err := os.Getwd()
	if err != nil {
		here = "/"
	}
	lists, err := task.Lists.read()
	if err == nil {
		err = enter(task.Overlays, lists.shared())
	}
	if err == nil {
		err = lists.write(task.Overlays)
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

// enter mounts the copies in place of their volumes. The shared directories remain visible below them.
func enter(overlays []overlay, shared []string) error {
	// Mounts made here are not visible outside, but what the service unmounts outside is unmounted here as well.
	if err := mount.KeepPrivate(); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	p := plan(mounts, overlays)
	for _, m := range p.hidden {
		fmt.Fprintf(os.Stderr, "vss: warning: %s is not in the set and is hidden from the command\n", m)
	}
	// A copy may hide the directory at which another one is mounted, so open all of them first.
	sources := make([]string, len(p.binds))
	for i, b := range p.binds {
		fd, err := unix.Open(b.source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open the copy %s: %w", b.source, err)
		}
		sources[i] = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	live, err := openShared(p, shared)
	if err != nil {
		return err
	}
	for i, b := range p.binds {
		target := filepath.Join(p.root, b.target)
		if err := mount.Bind(sources[i], target); err != nil {
			return fmt.Errorf("show the copy at %s: %w", target, err)
		}
	}
	for _, b := range live {
		if err := bindShared(b, filepath.Join(p.root, b.target)); err != nil {
			return err
		}
	}
	if p.root != "" {
		if err := unix.Chroot(p.root); err != nil {
			return fmt.Errorf("make the copy the root: %w", err)
		}
	}
	return nil
}

// openShared opens the directories that a copy would hide.
func openShared(p mountPlan, shared []string) ([]bind, error) {
	var out []bind
	for _, dir := range shared {
		hidden := p.root != "" || slices.ContainsFunc(p.binds, func(b bind) bool {
			return dir == b.target || strings.HasPrefix(dir, b.target+"/")
		})
		if !hidden {
			continue
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
		out = append(out, bind{fmt.Sprintf("/proc/self/fd/%d", fd), dir})
	}
	return out, nil
}

// bindShared mounts a shared directory on top of a copy. If the copy does not contain the directory, because it was on
// another volume or created later, it is created in a tmpfs, as the copy is read-only.
func bindShared(b bind, target string) error {
	err := mount.Bind(b.source, target)
	if !errors.Is(err, unix.ENOENT) {
		if err != nil {
			return fmt.Errorf("show %s: %w", b.target, err)
		}
		return nil
	}
	above := filepath.Dir(target)
	for above != "/" {
		if _, err := os.Stat(above); err == nil {
			break
		}
		above = filepath.Dir(above)
	}
	if entries, err := os.ReadDir(above); err != nil || len(entries) > 0 {
		return fmt.Errorf("show %s: the copy has no such directory: %w", b.target, errors.Join(err, unix.ENOENT))
	}
	if err := mount.Memory(above, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", b.target, err)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := mount.Bind(b.source, target); err != nil {
		return fmt.Errorf("show %s: %w", b.target, err)
	}
	return nil
}

type bind struct{ source, target string }

type mountPlan struct {
	root   string // the copy of the root volume; "" if that isn't in the set
	binds  []bind
	hidden []string // mount points that are hidden from the command
}

// plan determines which copy is mounted where. A volume that is mounted at several places is replaced at each; one that
// isn't mounted is left out.
func plan(mounts []*mountinfo.Info, overlays []overlay) mountPlan {
	var p mountPlan
	own := map[string]bool{}
	for _, o := range overlays {
		own[o.Path] = true
		var at *mountinfo.Info
		for _, m := range mounts { // the last one at a place is on top
			if m.Mountpoint == o.Volume {
				at = m
			}
		}
		if at == nil {
			continue
		}
		for _, m := range mounts {
			if m.Major != at.Major || m.Minor != at.Minor || m.Root != at.Root {
				continue
			}
			if m.Mountpoint == "/" {
				p.root = o.Path
			}
			if b := (bind{o.Path, m.Mountpoint}); m.Mountpoint != "/" && !slices.Contains(p.binds, b) {
				p.binds = append(p.binds, b)
			}
		}
	}
	slices.SortStableFunc(p.binds, func(a, b bind) int { return len(a.target) - len(b.target) })
	for _, m := range mounts {
		covered := p.root != "" && m.Mountpoint != "/"
		for _, b := range p.binds {
			covered = covered || strings.HasPrefix(m.Mountpoint, b.target+"/")
		}
		replaced := slices.ContainsFunc(p.binds, func(b bind) bool { return b.target == m.Mountpoint })
		if covered && !replaced && !own[m.Mountpoint] && !slices.Contains(p.hidden, m.Mountpoint) {
			p.hidden = append(p.hidden, m.Mountpoint)
		}
	}
	return p
}
