package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// as runs vss as another user. Group 0 is the user's own.
func (w *world) as(name, group string, args ...string) (result, failure) {
	w.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		w.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			w.Fatal(err)
		}
		n, _ := strconv.Atoi(g.Gid)
		c.Groups = []uint32{uint32(n)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := w.command(ctx, append([]string{"--json"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c}
	cmd.Dir = "/"
	r := w.finish(cmd)
	var doc struct{ Error failure }
	_ = json.Unmarshal(r.stdout, &doc)
	return r, doc.Error
}

// TestRights runs every command as an ordinary user, as a member of group backup and as root.
func TestRights(t *testing.T) {
	w := newWorld(t)
	if err := os.Chmod(w.dir, 0o755); err != nil { // the run folder is world readable, as /run/vss is
		t.Fatal(err)
	}
	point := w.volume("a", "64M", "ext4", "gpt")
	set := w.create("--no-writers", point)
	copyID := set.ShadowCopies[0].ID
	elsewhere := filepath.Join(w.dir, "mnt-elsewhere")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	exposed := filepath.Join(w.run, "exposed", "x")
	for _, c := range []struct {
		args   []string
		member bool // may a member of the group do it
	}{
		{[]string{"list", "shadows"}, true},
		{[]string{"list", "writers"}, true},
		{[]string{"list", "providers"}, true},
		{[]string{"list", "volumes"}, true},
		{[]string{"show", copyID}, true},
		{[]string{"show", set.SetID}, true},
		{[]string{"events"}, true},
		{[]string{"expose", copyID, exposed}, true},
		{[]string{"unexpose", copyID}, true},
		{[]string{"expose", copyID, elsewhere}, false},
		{[]string{"exec", "--no-writers", point, "--", "true"}, true},
		{[]string{"doctor"}, false},
		{[]string{"array", "list"}, false},
		{[]string{"lun", "list"}, false},
		{[]string{"lun", "show", "a"}, false},
		{[]string{"lun", "create", "b", "--size", "16M"}, false},
		{[]string{"lun", "format", "a", "--fs", "ext4"}, false},
		{[]string{"lun", "mask", "a"}, false},
		{[]string{"lun", "unmask", "a"}, false},
		{[]string{"lun", "set", "a", "--read-only"}, false},
		{[]string{"lun", "mount", "a", elsewhere}, false},
		{[]string{"lun", "unmount", "a"}, false},
		{[]string{"lun", "flags", "a", "--set", "hidden"}, false},
		{[]string{"lun", "rename", "a", "b"}, false},
		{[]string{"lun", "extend", "a", "--size", "128M"}, false},
		{[]string{"lun", "delete", "a"}, false},
		{[]string{"lun", "rescan"}, false},
		{[]string{"break", set.SetID}, false},
		{[]string{"break", set.SetID, "--read-write"}, false},
		{[]string{"delete", copyID}, true}, // last
	} {
		refusal := 1
		if c.args[0] == "exec" { // its own failures are 125: 1 is the command's
			refusal = 125
		}
		if r, e := w.as("nobody", "", c.args...); r.code != refusal || e.Result != "E_ACCESSDENIED" {
			t.Errorf("an ordinary user: vss %v: exit %d, %s%s", c.args, r.code, r.stdout, r.stderr)
		}
		r, e := w.as("nobody", "backup", c.args...)
		switch {
		case c.member && r.code != 0:
			t.Errorf("a member of backup: vss %v: exit %d, %s%s", c.args, r.code, r.stdout, r.stderr)
		case !c.member && (r.code != 1 || e.Result != "E_ACCESSDENIED"):
			t.Errorf("a member of backup: vss %v: exit %d, %s%s", c.args, r.code, r.stdout, r.stderr)
		}
	}
	if l := w.lun("a"); len(l.Disk.Partitions) != 1 || l.Device == "" || l.ReadOnly {
		t.Errorf("the LUN after refusals: %+v", l)
	}
	if left := w.shadows(); len(left) != 0 {
		t.Errorf("copies left: %+v", left)
	}
}

// TestAccounts: what the configuration says of an account goes for it, root included.
func TestAccounts(t *testing.T) {
	w := newWorld(t)
	w.configure("[accounts]\nnobody = 2\ndaemon = 1\n")
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.vss(nil, "list", "shadows")
	if r, _ := w.as("nobody", "", "list", "shadows"); r.code != 0 {
		t.Errorf("an account that may be a requester: exit %d, %s", r.code, r.stdout)
	}
	if r, e := w.as("nobody", "", "doctor"); r.code != 1 || e.Result != "E_ACCESSDENIED" {
		t.Errorf("a requester that isn't root: doctor: exit %d, %s", r.code, r.stdout)
	}
	for _, group := range []string{"", "backup"} { // 1: a writer and not a requester, with any groups
		if r, e := w.as("daemon", group, "list", "shadows"); r.code != 1 || e.Result != "E_ACCESSDENIED" {
			t.Errorf("an account that may not be a requester, group %q: exit %d, %s", group, r.code, r.stdout)
		}
	}
}
