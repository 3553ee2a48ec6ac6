package demo

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// needs lists the programs that the demonstration and the service require, by Debian package.
var needs = []struct {
	pkg      string
	programs []string // names, or patterns of paths
}{
	{"postgresql", []string{
		"/usr/lib/postgresql/*/bin/initdb", "/usr/lib/postgresql/*/bin/pg_ctl", "/usr/lib/postgresql/*/bin/pgbench",
		"/usr/lib/postgresql/*/bin/psql", "/usr/lib/postgresql/*/bin/pg_amcheck",
	}},
	{"xfsprogs", []string{"mkfs.xfs", "xfs_repair"}},
	{"e2fsprogs", []string{"mkfs.ext4", "e2fsck"}},
	{"btrfs-progs", []string{"mkfs.btrfs"}},
	{"coreutils", []string{"cp"}},
}

// checkReady returns an error if a requirement of the demonstration isn't met. Errors: E_ACCESSDENIED,
// VSS_E_NOT_SUPPORTED, VSS_E_UNEXPECTED.
func (c *Config) checkReady() error {
	if os.Geteuid() != 0 {
		return vss.E("Demo", vss.ErrAccessDenied, errors.New("the demo creates and mounts volumes")).
			Advise("run it as root")
	}
	var missing, packages []string
	for _, n := range needs {
		had := len(missing)
		for _, p := range n.programs {
			if !installed(p) {
				missing = append(missing, filepath.Base(p))
			}
		}
		if len(missing) > had {
			packages = append(packages, n.pkg)
		}
	}
	if _, err := user.Lookup(pgserver.Account); err != nil && len(packages) == 0 {
		missing, packages = append(missing, "the account "+pgserver.Account), append(packages, "postgresql")
	}
	if len(missing) > 0 {
		return vss.E("Demo", vss.ErrNotSupported, fmt.Errorf("not installed: %s", strings.Join(missing, ", "))).
			Advise("apt-get install " + strings.Join(packages, " "))
	}
	if !installed("/dev/loop-control") {
		return vss.E("Demo", vss.ErrNotSupported, errors.New("there are no loop devices")).
			On("/dev/loop-control").Advise("run `modprobe loop`; in a container, add the devices")
	}
	// The user of the database must be able to reach the directory.
	for dir := c.folder(); ; dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		if err == nil && fi.Mode()&1 == 0 {
			err = fmt.Errorf("user %s has no permission to enter %s", pgserver.Account, dir)
		}
		if err != nil {
			return vss.E("Demo", vss.ErrUnexpected, err).On(c.folder()).
				Advise("set TMPDIR to a directory on a local disk that every user may enter")
		}
		if dir == "/" {
			return nil
		}
	}
}

// installed reports whether a program, or a file that matches a pattern, exists.
func installed(program string) bool {
	if strings.HasPrefix(program, "/") {
		found, _ := filepath.Glob(program)
		return len(found) > 0
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// folder returns the directory in which temporary directories are created, without symbolic links, as mounts and
// devices are found again by that name.
func (c *Config) folder() string {
	dir := cmp.Or(c.Folder, os.Getenv("TMPDIR"), "/var/tmp")
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return dir
}
