package server

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// own is this process.
func own(t *testing.T) *Process {
	t.Helper()
	p, err := inspect(os.Getpid())
	must(t, err)
	return p
}

// await gives the one server of a program, which has just been started.
func await(t *testing.T, program string) *Process {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		all, _, err := Finder{Names: []string{filepath.Base(program)}}.Find(context.Background())
		must(t, err)
		all = slices.DeleteFunc(all, func(p *Process) bool { return p.Program != program })
		if len(all) > 1 {
			t.Fatalf("found %v", all)
		}
		if len(all) == 1 {
			return all[0]
		}
	}
	t.Fatalf("%s isn't found", program)
	return nil
}

func TestFind(t *testing.T) {
	program := filepath.Join(t.TempDir(), "vss-a-server") // a name that nobody else has
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	b, err := os.ReadFile(sleep)
	must(t, err)
	must(t, os.WriteFile(program, b, 0o755))
	cmd := exec.Command(program, "60")
	cmd.Dir = "/"
	must(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	p := await(t, program)
	if p.PID != cmd.Process.Pid || p.Program != program || !slices.Equal(p.Args, []string{"60"}) || p.Dir != "/" ||
		p.UID != os.Geteuid() ||
		!p.Runs() {
		t.Errorf("found %+v", p)
	}
	must(t, p.Stop(context.Background()))
	if p.Runs() {
		t.Error("it runs after Stop")
	}
	named := Finder{Names: []string{"vss-a-server"}}
	if all, _, err := named.Find(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("afterwards %v, %v", all, err)
	}
	if err := p.Start(context.Background(), func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	must(t, await(t, program).Stop(context.Background()))
	broken := *p
	broken.Args = []string{"no-number"}
	if err := broken.Start(context.Background(), func(context.Context) error { return os.ErrNotExist }); err == nil ||
		!strings.Contains(err.Error(), "ended after its start") {
		t.Errorf("a program that fails: %v", err)
	}
}

// A script of the same name that started the server doesn't hide the server.
func TestFindBelowScript(t *testing.T) {
	const name = "vss-b-server"
	dir := t.TempDir()
	program, script := filepath.Join(dir, "bin", name), filepath.Join(dir, name)
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	b, err := os.ReadFile(sleep)
	must(t, err)
	must(t, os.Mkdir(filepath.Dir(program), 0o755))
	must(t, os.WriteFile(program, b, 0o755))
	must(t, os.WriteFile(script, []byte("#!/bin/sh\n"+program+" 60\nexit 0\n"), 0o755))
	cmd := exec.Command(script)
	must(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	must(t, await(t, program).Stop(context.Background()))
}

func TestUnit(t *testing.T) {
	for group, want := range map[string]string{
		"0::/system.slice/mariadb.service\n":                             "mariadb.service",
		"0::/system.slice/system-redis.slice/redis@a.service/sub\n":      "redis@a.service",
		"12:cpu:/\n1:name=systemd:/system.slice/redis-server.service\n":  "redis-server.service",
		"0::/user.slice/user-0.slice/session-1.scope\n":                  "",
		"0::/user.slice/user-0.slice/user@0.service/app.slice/a.scope\n": "",
		// trust 2: below a user's manager, and below a service, groups may have any name
		"0::/user.slice/user-7.slice/user@7.service/app.slice/ssh.service\n": "",
		"0::/system.slice/app.service/ssh.service\n":                         "app.service",
		"0::/system.slice/docker-1.scope/ssh.service\n":                      "",
		"0::/\n": "",
		"":       "",
	} {
		if got := unit(group); got != want {
			t.Errorf("%q: %q, want %q", group, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:18EB": "127.0.0.1:6379", "00000000:18EB": "127.0.0.1:6379",
		"00000000000000000000000000000000:0050": "[::1]:80",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80", "B80D01200000000000000000010000000:1": "",
		"0100007F": "", "": "", ":1": "", "01:0001": "",
	} {
		got, err := address(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q is %v", text, got)
			}
			continue
		}
		if err != nil || got != netip.MustParseAddrPort(want) {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestListening(t *testing.T) {
	dir, err := os.MkdirTemp("", "vss a folder ")
	must(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	must(t, err)
	defer l.Close()
	c, err := net.Dial("unix", path) // a socket that is connected isn't one that listens
	must(t, err)
	defer c.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer tcp.Close()
	p := own(t)
	if got, err := p.Sockets(); err != nil || !slices.Equal(got, []string{path}) {
		t.Errorf("sockets %q, %v", got, err)
	}
	if got, err := p.Ports(); err != nil ||
		!slices.Equal(got, []netip.AddrPort{netip.MustParseAddrPort(tcp.Addr().String())}) {
		t.Errorf("ports %v, %v", got, err)
	}
	conn, err := p.Dial(context.Background(), path)
	must(t, err)
	must(t, conn.Close())
	stranger := *p
	stranger.PID++
	if _, err := stranger.Dial(context.Background(), path); err == nil ||
		!strings.Contains(err.Error(), "not to the server") {
		t.Errorf("another process behind the socket: %v", err)
	}
}

// trust 2: root believes, executes and opens only what root or the server's own account can change.
func TestOwned(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	uid, gid := os.Geteuid(), os.Getegid()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, Owned(file, uid, gid))
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(file, link))
	if err := Owned(link, uid, gid); err == nil {
		t.Error("a link is accepted")
	}
	must(t, os.Chmod(file, 0o602))
	if err := Owned(file, uid, gid); err == nil {
		t.Error("a file that others may write is accepted")
	}
	must(t, os.Chmod(file, 0o600))
	must(t, os.Chmod(dir, 0o777))
	if err := Owned(file, uid, gid); err == nil {
		t.Error("a file that others may replace is accepted")
	}
	must(t, os.Chmod(dir, 0o700))
	if uid != 0 {
		return
	}
	must(t, os.Chown(file, 12345, 12345))
	must(t, Owned(file, 12345, 12345))
	if err := Owned(file, 0, 0); err == nil {
		t.Error("a file of another account is accepted")
	}
}

// trust 2: a process is what its program is, not what it calls itself.
func TestNamed(t *testing.T) {
	dir := t.TempDir()
	program, other := filepath.Join(dir, "redis-check"), filepath.Join(dir, "su")
	for _, p := range []string{program, other} {
		must(t, os.WriteFile(p, nil, 0o755))
	}
	server := filepath.Join(dir, "redis-server")
	must(t, os.Symlink(program, server))
	if got, err := named(program, []string{"redis-server", "valkey-server"}); err != nil || got != server {
		t.Errorf("a program with several names: %q, %v", got, err)
	}
	if got, err := named(other, []string{"redis-server"}); err == nil {
		t.Errorf("another program is taken for %s", got)
	}
}

// trust 2: a server's log is opened as its account and never through a link.
func TestLog(t *testing.T) {
	p, dir := own(t), t.TempDir()
	log, link := filepath.Join(dir, "log"), filepath.Join(dir, "link")
	must(t, os.WriteFile(log, nil, 0o600))
	must(t, os.Symlink(log, link))
	for path, want := range map[string]string{log: log, link: os.DevNull, dir: os.DevNull, "": os.DevNull} {
		p.Log = path
		f, err := p.openLog()
		must(t, err)
		if f.Name() != want {
			t.Errorf("log %q: %s is opened", path, f.Name())
		}
		must(t, f.Close())
	}
	if os.Geteuid() != 0 {
		return
	}
	p.Log, p.UID, p.GID = log, 12345, 12345 // the log is root's
	f, err := p.openLog()
	must(t, err)
	if f.Name() != os.DevNull {
		t.Error("root's file is opened for another account")
	}
	must(t, f.Close())
}

// trust 4: any user can start a program called like a server. It is named and ignored, unless the configuration names
// the account.
func TestAccountsThatCount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("as another user there is only one account to start servers")
		return
	}
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	b, err := os.ReadFile(sleep)
	must(t, err)
	dir, err := os.MkdirTemp("", "vss-account-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "vss-c-server")
	must(t, os.WriteFile(program, b, 0o755))
	cmd := exec.Command(program, "60")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	f := Finder{Names: []string{"vss-c-server"}}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		all, left, err := f.Find(context.Background())
		must(t, err)
		if len(all) == 0 && len(left) == 1 && left[0].Ignored {
			break
		}
		if len(all) > 0 || time.Now().After(end) {
			t.Fatalf("found %v, left out %v", all, left)
		}
	}
	f.Accounts = []string{"nobody"}
	if all, left, err := f.Find(context.Background()); err != nil || len(all) != 1 || len(left) != 0 {
		t.Errorf("with the account in the configuration: %v, left out %v, %v", all, left, err)
	}
}
