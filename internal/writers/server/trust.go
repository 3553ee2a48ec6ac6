package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRead is the limit in bytes for files of accounts that are read.
const maxRead = 1 << 20

// Owned checks that nobody but root and the account with these IDs can change a file or folder, or replace it: it and
// every folder on its path must belong to one of the two, and must not be writable by others. A sticky folder above it
// may be writable. The path must not contain symbolic links.
func Owned(path string, uid, gid int) error {
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: p, Err: err}
		}
		sticky := st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0 && p != path
		group := st.Gid == 0 || int(st.Gid) == gid
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			return fmt.Errorf("%s is a symbolic link", p)
		case st.Uid != 0 && int(st.Uid) != uid:
			return fmt.Errorf("%s belongs to uid %d, neither to root nor to the server's uid %d", p, st.Uid, uid)
		case sticky:
		case st.Mode&0o002 != 0, st.Mode&0o020 != 0 && !group:
			return fmt.Errorf("other accounts may write to %s (mode %04o)", p, st.Mode&0o7777)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}

// ReadAs reads a regular file as an account, without following a link at its end, and never blocks. A file of more than
// 1 MiB is an error.
func ReadAs(uid, gid int, path string) (text []byte, err error) {
	err = As(uid, gid, func() error {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
			return errors.Join(err, fmt.Errorf("%s isn't a regular file", path))
		}
		if text, err = io.ReadAll(io.LimitReader(f, maxRead+1)); err == nil && len(text) > maxRead {
			err = fmt.Errorf("%s has more than %d bytes", path, maxRead)
		}
		return err
	})
	return text, err
}

// named returns the path under which a running program is started: program itself if its name is one of names, or
// another name of the same file in its folder. A process may be called anything, so its program must exist under one
// of the names.
func named(program string, names []string) (string, error) {
	for _, name := range append([]string{filepath.Base(program)}, names...) {
		path := filepath.Join(filepath.Dir(program), name)
		for _, n := range names {
			if n == name && sameFile(path, program) {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("its program %s has none of the names %s", program, strings.Join(names, ", "))
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// tools are the folders of programs that root executes.
var tools = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// Environ is the environment of programs that are started, which doesn't depend on that of this process.
func Environ() []string { return []string{"PATH=" + strings.Join(tools, ":"), "LC_ALL=C.UTF-8"} }

// Tool returns the path of a program of the host, independently of this process's environment.
func Tool(name string) (string, error) {
	for _, dir := range tools {
		path, err := filepath.EvalSymlinks(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if err := Owned(path, 0, 0); err != nil {
			return "", err
		}
		return filepath.Join(dir, name), nil
	}
	return "", fmt.Errorf("%s isn't installed", name)
}

// samePlace checks that a path leads a process to the same file or folder as this process. Servers in a sandbox of
// systemd have mount namespaces of their own in which their data have the same paths, servers in containers don't.
func samePlace(pid int, path string) error {
	var ours, theirs unix.Stat_t
	if err := unix.Stat(path, &ours); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	there := fmt.Sprintf("/proc/%d/root%s", pid, path)
	if err := unix.Stat(there, &theirs); err != nil {
		return &os.PathError{Op: "stat", Path: there, Err: err}
	}
	if ours.Dev != theirs.Dev || ours.Ino != theirs.Ino {
		return fmt.Errorf("%s is another folder for process %d", path, pid)
	}
	return nil
}
