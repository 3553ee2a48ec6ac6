package sockets

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func open(t *testing.T) (*Folders, string) {
	t.Helper()
	top := filepath.Join(t.TempDir(), "x")
	f, err := Open("Test", top, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return f, top
}

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestScan finds sockets by their names and ignores other files, links to sockets included.
func TestScan(t *testing.T) {
	f, top := open(t)
	listen(t, filepath.Join(top, "a.sock"))
	listen(t, filepath.Join(top, "b"))
	if err := os.Symlink(filepath.Join(top, "b"), filepath.Join(top, "c.sock")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "d.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all := f.Scan()
	if len(all) != 1 || all[0].Path != filepath.Join(top, "a.sock") {
		t.Errorf("found %+v", all)
	}
}

// TestConnect dials the socket that was found, and not one that has replaced it.
func TestConnect(t *testing.T) {
	f, top := open(t)
	path := filepath.Join(top, "a.sock")
	first := listen(t, path)
	s := f.Scan()[0]
	refuse := errors.New("refused")
	dial := func(path string, trust func(uid uint32) error) error {
		c, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		defer c.Close()
		return trust(0)
	}
	if err := s.Connect(func(uint32) error { return refuse }, dial); !errors.Is(err, refuse) {
		t.Errorf("an untrusted process: %v", err)
	}
	if err := s.Connect(func(uint32) error { return nil }, dial); err != nil {
		t.Errorf("a trusted process: %v", err)
	}
	s.uid = 12345
	if err := s.Connect(func(uint32) error { return nil }, dial); err == nil {
		t.Error("a process of another account than the folder's was accepted")
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = first.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	keep := listen(t, filepath.Join(top, "keep")) // so that the inode isn't used again
	defer keep.Close()
	listen(t, path)
	if err := s.Connect(func(uint32) error { return nil }, dial); vss.CodeOf(err) != vss.ErrUnexpected {
		t.Errorf("a socket that was replaced: %v", err)
	}
}

// TestStale removes a socket without a listener once it is old enough.
func TestStale(t *testing.T) {
	f, top := open(t)
	path := filepath.Join(top, "a.sock")
	l := listen(t, path)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	dial := func(path string, _ func(uint32) error) error { _, err := net.Dial("unix", path); return err }
	trust := func(uint32) error { return nil }
	if err := f.Scan()[0].Connect(trust, dial); err == nil {
		t.Fatal("connected to a socket without a listener")
	}
	if len(f.Scan()) != 1 {
		t.Error("a fresh socket was removed")
	}
	old := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if err := f.Scan()[0].Connect(trust, dial); err == nil {
		t.Fatal("connected to a socket without a listener")
	}
	if all := f.Scan(); len(all) != 0 {
		t.Errorf("still there: %+v", all)
	}
}

// TestWatch sees a socket come and go, and ends with its context.
func TestWatch(t *testing.T) {
	f, top := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	changes := make(chan struct{}, 100)
	done, err := f.Watch(ctx, func() { changes <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	wait := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: no change seen", what)
		}
	}
	l := listen(t, filepath.Join(top, "a.sock"))
	wait("created")
	_ = l.Close()
	wait("removed")
	cancel()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it watches after its context has ended")
	}
}

func TestAllows(t *testing.T) {
	f, _ := open(t)
	f.list = append(f.list, folder{"x", 77})
	if !f.Allows(uint32(os.Geteuid())) || !f.Allows(77) || f.Allows(78) {
		t.Error("it must allow the service's own account and those of the folders")
	}
}
