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

// safe says where a file really is, if nobody but root and the owner of the service can change it or put another one in its
// place: it, and every folder on its way, belongs to one of the two and is not writable by others. A folder that others may
// write to is fine where it is sticky. Errors: VSS_E_OBJECT_NOT_FOUND, E_ACCESSDENIED.
func safe(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", vss.E("LoadHook", vss.ErrObjectNotFound, err).On(path).Advise("see whether the path is right")
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
				Advise("what the service runs must be root's alone: chown root and chmod go-w, the folders above it too")
		}
		if p == filepath.Dir(p) {
			return real, nil
		}
	}
}

// executable is safe for a file that can be run; "" without an error when there is none.
func executable(path string) (string, error) {
	real, err := safe(path)
	if errors.Is(err, vss.ErrObjectNotFound) {
		if _, err := os.Lstat(path); err == nil {
			return "", vss.E("LoadHook", vss.ErrObjectNotFound, errors.New("a symbolic link to nowhere")).On(path).Advise("mend the link, or remove it")
		}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "", vss.E("LoadHook", vss.ErrInvalidArg, errors.Join(err, errors.New("it is no executable file"))).On(path).Advise("chmod +x, or remove it")
	}
	return real, nil
}
