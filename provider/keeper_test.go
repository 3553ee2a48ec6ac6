package provider_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// folders copies volumes that are folders with one file: enough to test a Keeper without root.
type folders struct{ fail error }

type folderCopy struct{ from, to string }

func (c folderCopy) Take(context.Context) error {
	b, err := os.ReadFile(c.from)
	if err != nil {
		return err
	}
	return os.WriteFile(c.to, b, 0o600)
}
func (folderCopy) Close() error { return nil }

func (f *folders) Consider(_ context.Context, v provider.Volume) (provider.Offer, error) {
	if _, err := os.Stat(v.Mount); err != nil {
		return provider.Offer{}, vss.E("Consider", vss.ErrVolumeNotSupportedByProvider, err).On(v.Name)
	}
	return provider.Offer{Hold: provider.HoldFreeze}, nil
}

func (f *folders) Prepare(_ context.Context, v provider.Volume, path string) (provider.Taker, error) {
	return folderCopy{
			filepath.Join(v.Mount, "file"),
			filepath.Join(path, "file"),
		}, errors.Join(
			f.fail,
			os.Mkdir(path, 0o700),
		)
}

func (f *folders) Surface(_ context.Context, path string) (provider.Location, error) {
	return provider.Location{Folder: path}, nil
}

// SetWritable stores the permission to write in a file.
func (f *folders) SetWritable(_ context.Context, path string, on bool) error {
	if on {
		return os.WriteFile(filepath.Join(path, "writable"), nil, 0o600)
	}
	return os.Remove(filepath.Join(path, "writable"))
}

func (f *folders) Withdraw(context.Context, string, bool) error { return nil }

func (f *folders) Delete(_ context.Context, path string) error { return os.RemoveAll(path) }

func keeperProperties() provider.Properties {
	return provider.Properties{
		ID:        vss.ProviderID{GUID: vss.MustGUID("{7a4e0f36-27b5-4b3e-8ee1-6a2f6b1d9c01}")},
		Name:      "Folders",
		Type:      vss.ProviderSoftware,
		Version:   "1",
		VersionID: vss.MustGUID("{7a4e0f36-27b5-4b3e-8ee1-6a2f6b1d9c02}"),
	}
}

func newKeeper(t *testing.T, folder string, c provider.Copier) *provider.Keeper {
	t.Helper()
	k, err := provider.NewKeeper(keeperProperties(), folder, c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// folderVolumes returns volumes that are folders.
func folderVolumes(t *testing.T, n int) []provider.Volume {
	t.Helper()
	var out []provider.Volume
	for i := range n {
		v := providertest.NewVolume(i)
		v.Mount = t.TempDir()
		if err := os.WriteFile(filepath.Join(v.Mount, "file"), []byte{'-'}, 0o600); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// entries returns the names in a folder that are copies.
func entries(t *testing.T, folder string) []string {
	t.Helper()
	all, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		if !strings.HasSuffix(e.Name(), ".json") {
			out = append(out, e.Name())
		}
	}
	return out
}

func TestKeeper(t *testing.T) {
	for name, reach := range map[string]func(*testing.T, provider.Software) provider.Software{
		"in process": func(_ *testing.T, p provider.Software) provider.Software { return p },
		"socket": func(t *testing.T, p provider.Software) provider.Software {
			return providertest.Socket(t, p).(provider.Software)
		},
	} {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Fixture{Software: func(t *testing.T) *providertest.SoftwareWorld {
				folder := t.TempDir()
				open := func() provider.Software { return reach(t, newKeeper(t, folder, &folders{})) }
				read := func(path string) byte {
					b, err := os.ReadFile(filepath.Join(path, "file"))
					if err != nil || len(b) != 1 {
						t.Fatalf("%q %v", b, err)
					}
					return b[0]
				}
				write := func(path string, b byte) {
					if err := os.WriteFile(filepath.Join(path, "file"), []byte{b}, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return &providertest.SoftwareWorld{
					Storage:  providertest.Storage{Copies: func() int { return len(entries(t, folder)) }},
					Provider: open(), Volumes: folderVolumes(t, 2), Restart: open,
					Write:  func(v provider.Volume, b byte) { write(v.Mount, b) },
					Read:   func(v provider.Volume) byte { return read(v.Mount) },
					ReadAt: func(l provider.Location) byte { return read(l.Folder) },
					WriteAt: func(l provider.Location, b byte) bool {
						if _, err := os.Stat(filepath.Join(l.Folder, "writable")); err != nil {
							return false
						}
						write(l.Folder, b)
						return true
					},
				}
			}})
		})
	}
}

// TestKeeperLeftovers starts a process over what a former one left at each step: its first OnLoad deletes unfinished
// copies and keeps finished ones.
func TestKeeperLeftovers(t *testing.T) {
	folder, volumes := t.TempDir(), folderVolumes(t, 1)
	for n := range 6 {
		k := newKeeper(t, folder, &folders{})
		set := vss.SnapshotSetID{GUID: vss.NewGUID()}
		calls := []func() error{
			func() error { return k.EndPrepareSnapshots(t.Context(), set) },
			func() error { return k.PreCommitSnapshots(t.Context(), set) },
			func() error { return k.CommitSnapshots(t.Context(), set) },
			func() error { return k.PostCommitSnapshots(t.Context(), set, 1) },
			func() error { return k.PreFinalCommitSnapshots(t.Context(), set) },
			func() error { return k.PostFinalCommitSnapshots(t.Context(), set) },
		}
		err := k.BeginPrepareSnapshot(
			t.Context(),
			set,
			vss.SnapshotID{GUID: vss.NewGUID()},
			volumes[0],
			vss.ContextAppRollback,
		)
		for _, call := range calls[:n+1] {
			err = errors.Join(err, call())
		}
		if err != nil {
			t.Fatal(err)
		}
		if left := entries(t, folder); len(left) != 1 {
			t.Fatalf("after %d calls: %v", n+1, left)
		}
		if err := newKeeper(t, folder, &folders{}).OnLoad(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := 0
		if n == 5 {
			want = 1
		}
		if left := entries(t, folder); len(left) != want {
			t.Errorf("after %d calls and a new process: %v, want %d copies", n+1, left, want)
		}
	}
}

// TestKeeperForgets deletes the copies of a set: nothing is left in the folder, not even the record.
func TestKeeperForgets(t *testing.T) {
	folder, volumes := t.TempDir(), folderVolumes(t, 2)
	k := newKeeper(t, folder, &folders{})
	set := vss.SnapshotSetID{GUID: vss.NewGUID()}
	var refs []provider.Ref
	var errs []error
	for _, v := range volumes {
		id := vss.SnapshotID{GUID: vss.NewGUID()}
		refs = append(refs, provider.Ref{ID: id, Payload: []byte(set.String() + "." + id.String())})
		errs = append(errs, k.BeginPrepareSnapshot(t.Context(), set, id, v, vss.ContextAppRollback))
	}
	errs = append(errs, k.EndPrepareSnapshots(t.Context(), set), k.PreCommitSnapshots(t.Context(), set),
		k.CommitSnapshots(t.Context(), set), k.PostCommitSnapshots(t.Context(), set, 2),
		k.PreFinalCommitSnapshots(t.Context(), set), k.PostFinalCommitSnapshots(t.Context(), set))
	for n, want := range []int{2, 0} { // copies and record after each deletion
		_, _, err := k.DeleteSnapshots(t.Context(), refs[n:n+1], false)
		errs = append(errs, err)
		if all, err := os.ReadDir(folder); err != nil || len(all) != want {
			t.Errorf("%d files after %d deletions, want %d: %v", len(all), n+1, want, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// TestKeeperFails has a copier that fails: its error becomes a veto with the reason, and nothing is left.
func TestKeeperFails(t *testing.T) {
	folder, reason := t.TempDir(), errors.New("the disk is full")
	k := newKeeper(t, folder, &folders{fail: reason})
	set := vss.SnapshotSetID{GUID: vss.NewGUID()}
	err := k.BeginPrepareSnapshot(
		t.Context(),
		set,
		vss.SnapshotID{GUID: vss.NewGUID()},
		folderVolumes(t, 1)[0],
		vss.ContextBackup,
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.EndPrepareSnapshots(t.Context(), set); !errors.Is(err, vss.ErrProviderVeto) || !errors.Is(err, reason) {
		t.Errorf("EndPrepareSnapshots: %v", err)
	}
	if err := k.AbortSnapshots(t.Context(), set); err != nil {
		t.Error(err)
	}
	if left := entries(t, folder); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := provider.NewKeeper(provider.Properties{}, folder, &folders{}, slog.Default()); !errors.Is(
		err,
		vss.ErrInvalidArg,
	) {
		t.Errorf("no properties: %v", err)
	}
}
