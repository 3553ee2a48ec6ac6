// Command provider is a complete software provider. It copies volumes that are image files on an XFS or btrfs, attached
// as loop devices, by reflinks: at once, and without using space until the image changes.
// Run it as root: provider --sockets /run/vss/providers --store /images/copies
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// id identifies the provider permanently. Generate your own with uuidgen.
var id = vss.ProviderID{GUID: vss.MustGUID("{0c7b0f5e-6a55-4d0a-9f3e-8f3c5f1f6b21}")}

var properties = provider.Properties{
	ID: id, Name: "Image Files", Type: vss.ProviderSoftware, Version: "1.0", VersionID: id.GUID,
	Capabilities: []provider.Capability{provider.CanDifferential},
}

// images clones image files into a folder on their file system. A provider.Keeper does the rest.
type images struct{ store string }

// image returns the file that a volume lies in.
func image(v provider.Volume) (string, error) {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(v.Device), "loop/backing_file"))
	return strings.TrimSuffix(string(b), "\n"), err
}

// Consider refuses volumes that can't be cloned into the store, and btrfs, which confuses copies with originals.
func (i images) Consider(_ context.Context, v provider.Volume) (provider.Offer, error) {
	file, err := image(v)
	var store, st unix.Stat_t
	if err == nil {
		err = errors.Join(unix.Stat(i.store, &store), unix.Stat(file, &st))
	}
	switch {
	case err != nil:
	case st.Dev != store.Dev:
		err = fmt.Errorf("its image %s isn't on the file system of %s", file, i.store)
	case v.FileSystem != "ext4" && v.FileSystem != "xfs":
		err = fmt.Errorf("its file system is %q; it must be ext4 or xfs", v.FileSystem)
	}
	if err != nil {
		return provider.Offer{}, vss.E("Consider", vss.ErrVolumeNotSupportedByProvider, err).On(v.Name)
	}
	return provider.Offer{Hold: provider.HoldFreeze, Cost: "what changes in the image afterwards"}, nil
}

// clone is a copy that is prepared: both files are open, since none can be opened while the volume is frozen.
type clone struct{ from, to *os.File }

func (i images) Prepare(_ context.Context, v provider.Volume, path string) (provider.Taker, error) {
	file, err := image(v)
	if err != nil {
		return nil, err
	}
	from, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	to, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return clone{from, to}, nil
}

// Take is one ioctl. The volume is frozen, so the image is consistent.
func (c clone) Take(context.Context) error {
	return unix.IoctlFileClone(int(c.to.Fd()), int(c.from.Fd()))
}

func (c clone) Close() error { return errors.Join(c.to.Sync(), c.to.Close(), c.from.Close()) }

// device returns the loop device of a file, "" if it has none.
func device(path string) (string, error) {
	out, err := exec.Command("losetup", "--noheadings", "--output", "NAME", "--associated", path).Output()
	return strings.TrimSpace(string(out)), err
}

func (i images) Surface(ctx context.Context, path string) (provider.Location, error) {
	d, err := device(path)
	if err == nil && d == "" {
		var out []byte
		out, err = exec.Command("losetup", "--find", "--show", path).Output()
		if d = strings.TrimSpace(string(out)); err == nil {
			err = i.SetWritable(ctx, path, false)
		}
	}
	return provider.Location{Devices: []string{d}}, err
}

func (i images) SetWritable(_ context.Context, path string, on bool) error {
	d, err := device(path)
	if err != nil {
		return err
	}
	return exec.Command("blockdev", map[bool]string{true: "--setrw", false: "--setro"}[on], d).Run()
}

func (i images) Withdraw(_ context.Context, path string, force bool) error {
	d, err := device(path)
	if err != nil || d == "" {
		return err
	}
	if fd, err := unix.Open(d, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Close(fd)
	} else if !force { // mounted
		return vss.E("Withdraw", vss.ErrVolumeInUse, err).On(d)
	}
	return exec.Command("losetup", "--detach", d).Run()
}

func (i images) Delete(_ context.Context, path string) error { return os.RemoveAll(path) }

func main() {
	folder := flag.String("sockets", "/run/vss/providers", "folder for the socket")
	store := flag.String("store", "/images/copies", "folder for the copies, on the file system of the images")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := provider.NewKeeper(properties, *store, images{*store}, slog.Default())
	var l net.Listener
	if err == nil {
		l, err = provider.Listen(*folder, "images")
	}
	if err == nil {
		err = provider.Serve(ctx, l, p, slog.Default()) // until a signal comes
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
