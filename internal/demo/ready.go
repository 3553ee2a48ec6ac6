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

// needs are the programs of the demo and the service, by Debian's package.
var needs = []struct {
	pkg      string
	programs []string // a name, or a pattern of paths
}{
	{"postgresql", []string{"/usr/lib/postgresql/*/bin/initdb", "/usr/lib/postgresql/*/bin/pg_ctl", "/usr/lib/postgresql/*/bin/pgbench",
		"/usr/lib/postgresql/*/bin/psql", "/usr/lib/postgresql/*/bin/pg_amcheck"}},
	{"xfsprogs", []string{"mkfs.xfs", "xfs_repair"}},
	{"e2fsprogs", []string{"mkfs.ext4", "e2fsck"}},
	{"btrfs-progs", []string{"mkfs.btrfs"}},
	{"coreutils", []string{"cp"}},
}

// ready says what is missing for a demo, before anything is made. Errors: E_ACCESSDENIED, VSS_E_NOT_SUPPORTED, VSS_E_UNEXPECTED.
func (c *Config) ready() error {
	if os.Geteuid() != 0 {
		return vss.E("Demo", vss.ErrAccessDenied, errors.New("it makes and mounts volumes, which only root may")).Advise("run it as root")
	}
	var missing, packages []string
	for _, n := range needs {
		had := len(missing)
		for _, p := range n.programs {
			if !there(p) {
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
		return vss.E("Demo", vss.ErrNotSupported, fmt.Errorf("missing on this machine: %s", strings.Join(missing, ", "))).
			Advise("install Debian's " + strings.Join(packages, ", ") + ": apt-get install " + strings.Join(packages, " "))
	}
	if !there("/dev/loop-control") {
		return vss.E("Demo", vss.ErrNotSupported, errors.New("this kernel has no loop devices")).On("/dev/loop-control").Advise("modprobe loop; in a container, give it the devices")
	}
	// The database's account must get to the scratch folder.
	for dir := c.folder(); ; dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		if err == nil && fi.Mode()&1 == 0 {
			err = fmt.Errorf("the account %s can't pass through %s", pgserver.Account, dir)
		}
		if err != nil {
			return vss.E("Demo", vss.ErrUnexpected, err).On(c.folder()).Advise("set TMPDIR to a folder on a local disk that everybody may pass through")
		}
		if dir == "/" {
			return nil
		}
	}
}

func there(program string) bool {
	if strings.HasPrefix(program, "/") {
		found, _ := filepath.Glob(program)
		return len(found) > 0
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// folder is where scratch folders are made: as the kernel spells it, since that is how mounts and devices are found again.
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
