package main

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// run runs a program and returns what it prints.
func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// newVolume makes an ext4 in an image file and mounts it, until the test ends.
func newVolume(t *testing.T, folder, name string) provider.Volume {
	t.Helper()
	image, mount := filepath.Join(folder, name+".img"), t.TempDir()
	run(t, "truncate", "--size", "16M", image)
	uuid := vss.NewGUID().String()[1:37]
	run(t, "mkfs.ext4", "-q", "-U", uuid, image)
	d := run(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() { run(t, "losetup", "--detach", d) })
	run(t, "mount", d, mount)
	t.Cleanup(func() { run(t, "umount", mount) })
	return provider.Volume{Name: mount, Mount: mount, FileSystem: "ext4", UUID: uuid, Device: d, Devices: []string{d},
		Extents: []vss.Extent{{Length: 16 << 20}}, Size: 16 << 20}
}

func write(mount string, b byte) error {
	return os.WriteFile(filepath.Join(mount, "file"), []byte{b}, 0o600)
}

func read(t *testing.T, mount string) byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(mount, "file"))
	if err != nil || len(b) != 1 {
		t.Fatalf("%q %v", b, err)
	}
	return b[0]
}

// TestImages runs the suite on real file systems, which are frozen while copies are taken.
func TestImages(t *testing.T) {
	lane.Host(t)
	folder := pooltest.Folder(t, "xfs", 1<<30)
	volumes := []provider.Volume{newVolume(t, folder, "a"), newVolume(t, folder, "b")}
	for _, v := range volumes {
		if err := write(v.Mount, '-'); err != nil {
			t.Fatal(err)
		}
	}
	providertest.Run(t, providertest.Fixture{Software: func(t *testing.T) *providertest.SoftwareWorld {
		store, err := os.MkdirTemp(folder, "copies")
		if err != nil {
			t.Fatal(err)
		}
		copies := func() []string {
			all, _ := filepath.Glob(filepath.Join(store, "{*}.{*}"))
			return all
		}
		t.Cleanup(func() {
			for _, c := range copies() {
				if err := (images{store}).Withdraw(t.Context(), c, false); err != nil {
					t.Error(err)
				}
			}
		})
		open := func() provider.Software {
			logger := slog.New(slog.NewTextHandler(t.Output(), nil))
			p, err := provider.NewKeeper(properties, store, images{store}, logger)
			if err != nil {
				t.Fatal(err)
			}
			return providertest.Socket(t, p).(provider.Software)
		}
		return &providertest.SoftwareWorld{
			Storage:  providertest.Storage{Copies: func() int { return len(copies()) }},
			Provider: open(), Volumes: volumes, Restart: open,
			Write: func(v provider.Volume, b byte) {
				if err := write(v.Mount, b); err != nil {
					t.Fatal(err)
				}
			},
			Read: func(v provider.Volume) byte { return read(t, v.Mount) },
			ReadAt: func(l provider.Location) byte {
				mount := t.TempDir()
				run(t, "mount", "-o", "ro,noload", l.Devices[0], mount)
				defer run(t, "umount", mount)
				return read(t, mount)
			},
			WriteAt: func(l provider.Location, b byte) bool {
				mount := t.TempDir()
				if exec.Command("mount", "-o", "rw", l.Devices[0], mount).Run() != nil {
					return false
				}
				defer run(t, "umount", mount)
				return write(mount, b) == nil
			},
			Hold: func() (release func()) {
				for _, v := range volumes {
					run(t, "fsfreeze", "--freeze", v.Mount)
				}
				return func() {
					for _, v := range volumes {
						run(t, "fsfreeze", "--unfreeze", v.Mount)
					}
				}
			},
		}
	}})
}

// TestUnsupported refuses volumes that aren't image files on the store's file system.
func TestUnsupported(t *testing.T) {
	for _, v := range []provider.Volume{{Device: "/dev/nothing", FileSystem: "ext4"}, {Device: "", FileSystem: "xfs"}} {
		if _, err := (images{t.TempDir()}).Consider(t.Context(), v); vss.CodeOf(
			err,
		) != vss.ErrVolumeNotSupportedByProvider {
			t.Errorf("%+v: %v", v, err)
		}
	}
}
