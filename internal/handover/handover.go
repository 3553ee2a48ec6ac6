// Package handover passes mounts of shadow copies from the service to a command of root on the same host. A path says
// nothing in another mount namespace, and gRPC carries no descriptors, so RUN/fd.sock does: a connection has one
// request and one reply.
package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	maxMessage = 256 << 10        // bytes of a request or a reply, of 64 volumes at most
	askLimit   = 30 * time.Second // for the reply
)

// Mount is how a command may see one copy of a session.
type Mount struct {
	Copy    vss.SnapshotID
	Volume  string   // name of the original
	Devices []string // MAJ:MIN of the originals' file systems, wherever they are mounted; none if they aren't
	// Copies are those of all mounted copies of the volume: a command that runs inside of exec sees one in the
	// original's place.
	Copies []string
	Root   string   // folder of the file system that is the volume: "/", or the path of a btrfs subvolume
	Own    string   // MAJ:MIN of the copy
	File   *os.File `json:"-"` // the root of the copy's file system, mounted nowhere; nil for callers other than root
}

type request struct{ Session string }

type reply struct {
	Error  []byte // a marshalled ErrorDetail
	Mounts []Mount
	Files  []int // indexes of the mounts that the descriptors belong to
}

// Socket returns the path of the socket in a run directory.
func Socket(run string) string { return filepath.Join(run, "fd.sock") }

// Ask requests the mounts of all copies of a session, which its token names. The caller closes the files. Errors: those
// of the service; VSS_E_UNEXPECTED if it can't be reached.
func Ask(ctx context.Context, run, session string) ([]Mount, error) {
	fail := func(err error) ([]Mount, error) {
		return nil, vss.E("HandOver", vss.ErrUnexpected, err).On(Socket(run)).Advise("see the log of the service")
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unixpacket", Socket(run))
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	text, err := json.Marshal(request{session})
	if err == nil {
		_, err = c.Write(text)
	}
	if err != nil {
		return fail(err)
	}
	text, files, err := receive(c.(*net.UnixConn))
	if err != nil {
		return fail(err)
	}
	mounts, err := decode(text, files)
	if err != nil {
		for _, f := range files {
			_ = f.Close()
		}
	}
	return mounts, err
}

// decode reads a reply that came with files.
func decode(text []byte, files []*os.File) ([]Mount, error) {
	var r reply
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, vss.E("HandOver", vss.ErrUnexpected, err)
	}
	if len(r.Error) > 0 {
		return nil, wire.UnmarshalError(r.Error)
	}
	if len(r.Files) != len(files) {
		return nil, vss.E("HandOver", vss.ErrUnexpected, fmt.Errorf("%d of %d descriptors", len(files), len(r.Files)))
	}
	for i, n := range r.Files {
		if n < 0 || n >= len(r.Mounts) {
			return nil, vss.E("HandOver", vss.ErrUnexpected, fmt.Errorf("a descriptor of mount %d", n))
		}
		r.Mounts[n].File = files[i]
	}
	return r.Mounts, nil
}

// receive reads one message with its descriptors.
func receive(c *net.UnixConn) ([]byte, []*os.File, error) {
	text, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*vss.MaxVolumes))
	n, rn, flags, _, err := c.ReadMsgUnix(text, rights)
	if err != nil {
		return nil, nil, err
	}
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	for _, m := range messages {
		fds, e := unix.ParseUnixRights(&m)
		err = errors.Join(err, e)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "copy"))
		}
	}
	if err == nil && (n == 0 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0) {
		err = errors.New("a message was cut off")
	}
	if err != nil {
		for _, f := range files {
			_ = f.Close()
		}
		return nil, nil, err
	}
	return text[:n], files, nil
}
