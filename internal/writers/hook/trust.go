package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// safe resolves a path and checks that nobody but root and the owner of the service can change the file or replace it:
// the file and each folder on its path must belong to one of the two and not be writable by others. A sticky folder
// may be writable. Errors: VSS_E_OBJECT_NOT_FOUND, E_ACCESSDENIED.
func safe(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", vss.E("LoadHook", vss.ErrObjectNotFound, err).On(path).Advise("correct the path")
	case err != nil:
		return "", vss.E("LoadHook", vss.ErrAccessDenied, err).On(path)
	}
	for p := real; ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return "", vss.E("LoadHook", vss.ErrAccessDenied, err).On(p)
		}
		sticky := st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0 && p != real
		why := ""
		switch {
		case st.Uid != 0 && int(st.Uid) != os.Geteuid():
			why = fmt.Sprintf("it belongs to uid %d", st.Uid)
		case st.Mode&0o022 != 0 && !sticky:
			why = fmt.Sprintf("others may write to it (mode %04o)", st.Mode&0o7777)
		}
		if why != "" {
			return "", vss.E("LoadHook", vss.ErrAccessDenied, errors.New(why)).On(p).
				Advise("the service runs only files that others can't change: chown root and chmod go-w, also for " +
					"the folders above")
		}
		if p == filepath.Dir(p) {
			return real, nil
		}
	}
}

// executable is safe for an executable file; it returns "" without an error if the file doesn't exist.
func executable(path string) (string, error) {
	real, err := safe(path)
	if errors.Is(err, vss.ErrObjectNotFound) {
		if _, err := os.Lstat(path); err == nil {
			return "", vss.E("LoadHook", vss.ErrObjectNotFound, errors.New("the symbolic link has no target")).
				On(path).
				Advise("correct the link, or remove it")
		}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "", vss.E("LoadHook", vss.ErrInvalidArg, errors.Join(err, errors.New("not an executable file"))).
			On(path).
			Advise("chmod +x, or remove it")
	}
	return real, nil
}
