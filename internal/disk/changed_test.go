package disk

import (
	"errors"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// What another program writes to the table after it was read is kept: no change is written until Reload, and then only
// the bits that it is about (trust 8).
func TestTableChangedByAnother(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   []string
		change func(t *testing.T, d string)
	}{
		{"a partition is added", []string{"-n", "1:0:+8M"}, func(t *testing.T, d string) {
			run(t, "sgdisk", "-n", "2:0:0", d)
		}},
		{"a partition is removed", []string{"-n", "1:0:+8M", "-n", "2:0:0"}, func(t *testing.T, d string) {
			run(t, "sgdisk", "-d", "2", d)
		}},
		{"a name", []string{"-n", "1:0:0"}, func(t *testing.T, d string) { run(t, "sgdisk", "-c", "1:other", d) }},
		{"another attribute", []string{"-n", "1:0:0"}, func(t *testing.T, d string) {
			run(t, "sgdisk", "-A", "1:set:2", d)
		}},
		{"an identity", []string{"-n", "1:0:0"}, func(t *testing.T, d string) { run(t, "sgdisk", "-G", d) }},
		{"another kind of table", []string{"-n", "1:0:0"}, func(t *testing.T, d string) {
			run(t, "sgdisk", "-Z", d)
			script(t, "label: dos\nstart=2048\n", "sfdisk", "-q", d)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := temp(t, 64*mib)
			run(t, "sgdisk", append(c.make, d)...)
			edit(t, d, func(e *Editor) {
				must(t, e.SetFlags(vss.FlagsShadowCopy, 0))
				c.change(t, d)
				changed := content(t, d)
				for name, err := range map[string]error{
					"SetFlags":          e.SetFlags(0, vss.FlagsShadowCopy),
					"SetPartitionFlags": e.SetPartitionFlags(1, 0, vss.FlagsShadowCopy),
					"SetIdentity":       func() error { _, err := e.RenewIdentity(); return err }(),
				} {
					if !errors.Is(err, ErrTableChanged) {
						t.Errorf("%s: %v", name, err)
					}
				}
				if string(content(t, d)) != string(changed) {
					t.Error("something was written")
				}
				before := sfdiskOf(t, d)
				must(t, e.Reload())
				must(t, e.SetFlags(0, vss.FlagsShadowCopy))
				after := sfdiskOf(t, d)
				if len(before.Partitions) != len(after.Partitions) || before.ID != after.ID {
					t.Errorf("the table was %+v, is %+v", before, after)
				}
				for i, p := range after.Partitions {
					o := before.Partitions[i]
					if p.Start != o.Start || p.Size != o.Size || p.UUID != o.UUID || p.Name != o.Name {
						t.Errorf("partition %d was %+v, is %+v", i, o, p)
					}
				}
			})
		})
	}
}
