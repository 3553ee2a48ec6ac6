package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// breakRow is one row of the table of BreakSnapshotSetEx. Source: provider's reference, break, semantic table.
type breakRow struct {
	name     string
	flags    vss.BreakFlags
	original string // "visible" or "masked" while the set is broken
	err      vss.Code
	reverted bool // else the identities are kept
	write    bool
	masked   bool
}

const (
	mask = vss.BreakMaskLUNs
	rw   = vss.BreakMakeReadWrite
	all  = vss.BreakRevertIdentityAll
	none = vss.BreakRevertIdentityNone
)

var breakTable = []breakRow{
	{name: "plain, original visible", original: "visible"},
	{name: "plain, original masked", original: "masked", reverted: true},
	{name: "mask", flags: mask, original: "visible", masked: true},
	{name: "read-write, original visible", flags: rw, original: "visible", write: true},
	{name: "read-write, original masked", flags: rw, original: "masked", reverted: true, write: true},
	{name: "revert all, original visible", flags: all, original: "visible", err: vss.ErrBreakRevertIDFailed},
	{name: "revert all, original masked", flags: all, original: "masked", reverted: true},
	{name: "read-write and revert all, original visible", flags: rw | all, original: "visible",
		err: vss.ErrBreakRevertIDFailed},
	{name: "read-write and revert all, original masked", flags: rw | all, original: "masked", reverted: true,
		write: true},
	{name: "revert none, original visible", flags: none, original: "visible"},
	{name: "revert none, original masked", flags: none, original: "masked"},
	{name: "read-write and revert none", flags: rw | none, original: "visible", write: true},
	{name: "mask and read-write", flags: mask | rw, original: "visible", err: vss.ErrInvalidArg},
	{name: "mask and revert all", flags: mask | all, original: "visible", err: vss.ErrInvalidArg},
	{name: "mask and revert none", flags: mask | none, original: "visible", err: vss.ErrInvalidArg},
	{name: "revert all and none", flags: all | none, original: "visible", err: vss.ErrInvalidArg},
	{name: "read-write, revert all and none", flags: rw | all | none, original: "visible", err: vss.ErrInvalidArg},
	{name: "a provider's bit", flags: 0x100, original: "visible", err: vss.ErrInvalidArg},
	{name: "an unknown bit", flags: 0x10, original: "visible", err: vss.ErrInvalidArg},
}

func TestBreakTable(t *testing.T) {
	for _, style := range []string{"gpt", "mbr", "whole-disk"} {
		t.Run(style, func(t *testing.T) {
			w := newWorld(t)
			point := w.volume("orig", "64M", "ext4", style)
			w.write(filepath.Join(point, "file"), "before")
			client := w.connect()
			for _, row := range breakTable {
				t.Run(row.name, func(t *testing.T) {
					r := &breakCase{world: &world{TB: t, dir: w.dir, state: w.state, run: w.run}, row: row,
						style: style, point: point, client: client}
					r.prove()
				})
			}
		})
	}
}

type breakCase struct {
	*world
	row    breakRow
	style  string
	point  string // where the original is mounted
	client *requester.Client
	set    setDoc
	copy   lunDoc // before the break
}

func (c *breakCase) prove() {
	original := c.lun("orig")
	c.set = c.create("--no-writers", c.point)
	c.copy = c.lun(c.set.ShadowCopies[0].LUNs[0])
	c.bornWithFlags()
	if c.row.original == "masked" {
		c.vss(nil, "lun", "mask", "orig", "--force")
		defer func() {
			c.vss(nil, "lun", "unmask", "orig")
			c.mount("orig")
		}()
	}
	broken, err := c.breakIt()
	if c.row.err != 0 {
		if !errors.Is(err, c.row.err) {
			c.Errorf("break: %v, want %s", err, c.row.err.Name())
		}
		c.intact()
		c.vss(nil, "delete", c.set.SetID)
		return
	}
	if err != nil {
		c.Fatalf("break: %v\n%s", err, c.log())
	}
	c.refused("VSS_E_OBJECT_NOT_FOUND", "break", c.set.SetID)
	c.refused("VSS_E_OBJECT_NOT_FOUND", "show", c.set.SetID)
	if len(broken) != 1 || broken[0].Masked != c.row.masked || broken[0].ReadWrite != c.row.write ||
		broken[0].Reverted != c.row.reverted {
		c.Errorf("the break says %+v, want masked %v, read/write %v, reverted %v", broken, c.row.masked, c.row.write,
			c.row.reverted)
	}
	after := c.lun(c.copy.ID)
	if after.Kind != "plain" {
		c.Errorf("the LUN is a %s one after the break", after.Kind)
	}
	if c.row.masked {
		if after.Device != "" || len(after.MappedTo) != 0 {
			c.Errorf("a masked LUN is at %q, mapped to %v", after.Device, after.MappedTo)
		}
		c.vss(nil, "lun", "unmask", after.ID) // it is all there, and still has the copy's flags and identity
		if after = c.lun(c.copy.ID); !slices.Equal(c.flags(after),
			[]string{"hidden", "no-auto-mount", "read-only", "shadow-copy"}) || after.Disk.ID != c.copy.Disk.ID {
			c.Errorf("a masked LUN comes back with flags %v and id %s", c.flags(after), after.Disk.ID)
		}
	} else {
		c.identity(original, after)
		want := []string{"no-auto-mount", "read-only"}
		if c.row.write {
			want = want[:1]
		}
		if got := c.flags(after); !slices.Equal(got, want) {
			c.Errorf("flags after the break: %v, want %v", got, want)
		}
		if after.ReadOnly == c.row.write {
			c.Errorf("read-only is %v after the break", after.ReadOnly)
		}
		c.access(after)
	}
	c.vss(nil, "lun", "delete", after.ID, "--force")
}

// flags are those of the disk's data partition or, where it has no table, of the LUN.
func (c *breakCase) flags(l lunDoc) []string {
	out := slices.Clone(l.Disk.Flags)
	if c.style == "gpt" {
		out = slices.Clone(l.Disk.Partitions[0].Flags)
	}
	slices.Sort(out)
	return out
}

// bornWithFlags: the copy has the four flags and an identity of its own, the original has no flag.
func (c *breakCase) bornWithFlags() {
	if got := c.flags(c.copy); !slices.Equal(got, []string{"hidden", "no-auto-mount", "read-only", "shadow-copy"}) ||
		!c.copy.ReadOnly {
		c.Errorf("the copy has flags %v, read-only %v", got, c.copy.ReadOnly)
	}
	o := c.lun("orig")
	if len(c.flags(o)) != 0 || o.ReadOnly {
		c.Errorf("the original has flags %v, read-only %v", c.flags(o), o.ReadOnly)
	}
	if c.style != "whole-disk" && o.Disk.ID == c.copy.Disk.ID {
		c.Errorf("original and copy have the disk id %s", o.Disk.ID)
	}
}

func (c *breakCase) breakIt() ([]requester.BrokenLUN, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := c.client.Open(ctx, "test")
	if err != nil {
		c.Fatal(err)
	}
	defer b.Close()
	if err := b.InitializeForBackup(ctx, nil); err != nil {
		c.Fatal(err)
	}
	id := vss.SnapshotSetID{GUID: vss.MustGUID(c.set.SetID)}
	if c.row.flags == 0 {
		return b.BreakSnapshotSet(ctx, id)
	}
	a, err := b.BreakSnapshotSetEx(ctx, id, c.row.flags)
	if err == nil {
		_, err = a.Wait(ctx, nil)
	}
	if err != nil {
		return nil, err
	}
	return b.GetBreakResult(ctx, a)
}

// intact: after a break that failed the set is what it was.
func (c *breakCase) intact() {
	var s setDoc
	c.vss(&s, "show", c.set.SetID)
	if len(s.ShadowCopies) != 1 || s.ShadowCopies[0].State != "created" {
		c.Errorf("the set after a failed break: %+v", s.ShadowCopies)
	}
	after := c.lun(c.copy.ID)
	if after.Kind != "shadow-copy" || after.Disk.ID != c.copy.Disk.ID ||
		!slices.Equal(c.flags(after), c.flags(c.copy)) || !after.ReadOnly {
		c.Errorf("the LUN after a failed break: %+v, before %+v", after, c.copy)
	}
	exposed := filepath.Join(c.run, "exposed", "intact")
	c.vss(nil, "expose", s.ShadowCopies[0].ID, exposed)
	c.content(exposed, "before")
	c.vss(nil, "unexpose", s.ShadowCopies[0].ID)
}

func (c *breakCase) content(root, want string) {
	c.Helper()
	got, err := os.ReadFile(filepath.Join(root, "file"))
	if err != nil || string(got) != want {
		c.Errorf("%s has %q, %v; want %q", root, got, err, want)
	}
}

// identity compares the broken LUN's ids with those of the original and of the copy before.
func (c *breakCase) identity(original, after lunDoc) {
	if after.Vpd83 != c.copy.Vpd83 || after.Serial != c.copy.Serial {
		c.Errorf("the LUN's own identifiers changed: %s, %s", after.Vpd83, after.Serial)
	}
	ids := func(l lunDoc) []string {
		out := []string{l.Disk.ID}
		for _, p := range l.Disk.Partitions {
			out = append(out, p.ID)
		}
		return out
	}
	want := c.copy
	if c.row.reverted {
		want = original
	}
	if c.style != "whole-disk" && !slices.Equal(ids(after), ids(want)) {
		c.Errorf("ids after the break: %v; the original's %v, the copy's %v", ids(after), ids(original), ids(c.copy))
	}
	uuid, same := after.Disk.Partitions[0].UUID, original.Disk.Partitions[0].UUID
	if kept := !c.row.write || c.row.reverted; kept != (uuid == same) {
		c.Errorf("the file system's UUID is %s, the original's %s", uuid, same)
	}
}

// access mounts the broken LUN; a read/write one takes writes, which the original doesn't see.
func (c *breakCase) access(after lunDoc) {
	point := filepath.Join(c.dir, "mnt-broken")
	if err := os.MkdirAll(point, 0o755); err != nil {
		c.Fatal(err)
	}
	c.vss(nil, "lun", "mount", after.ID, point)
	c.content(point, "before")
	err := os.WriteFile(filepath.Join(point, "file"), []byte("after"), 0o644)
	if (err == nil) != c.row.write {
		c.Errorf("writing to the broken volume: %v", err)
	}
	if c.row.write {
		c.content(point, "after")
	}
	if c.row.original == "visible" {
		c.content(c.point, "before")
		c.write(filepath.Join(c.point, "new"), "only here")
		if _, err := os.Stat(filepath.Join(point, "new")); !os.IsNotExist(err) {
			c.Errorf("the broken volume sees what the original is written: %v", err)
		}
		_ = os.Remove(filepath.Join(c.point, "new"))
	}
	c.vss(nil, "lun", "unmount", after.ID)
}
