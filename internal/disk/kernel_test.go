package disk

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestPartitionNode(t *testing.T) {
	for _, c := range []struct {
		device string
		number int
		want   string
	}{
		{"/dev/sda", 1, "/dev/sda1"}, {"/dev/loop3", 12, "/dev/loop3p12"}, {"/dev/nvme0n1", 2, "/dev/nvme0n1p2"},
		{"/dev/sdab", 128, "/dev/sdab128"},
	} {
		if got := PartitionNode(c.device, c.number); got != c.want {
			t.Errorf("%s %d: %s", c.device, c.number, got)
		}
	}
}

// The kernel's partitions are the table's, wherever they came from, and go as one.
func TestAddPartitions(t *testing.T) {
	each(t, func(t *testing.T, d string, style Style) {
		if filepath.Dir(d) != "/dev" {
			return
		}
		tab := table(t, d)
		var want []string
		for _, p := range tab.Partitions {
			if !extended(p.TypeMBR) {
				want = append(want, PartitionNode(d, p.Number))
			}
		}
		for range 2 { // the second time all is there already
			nodes, err := AddPartitions(d, tab)
			must(t, err)
			if d := cmp.Diff(want, nodes); d != "" {
				t.Error(d)
			}
		}
		if got := Nodes(d); got[0] != d || len(got) != len(want)+1 {
			t.Errorf("nodes %v", got)
		}
		for _, p := range tab.Partitions {
			if extended(p.TypeMBR) {
				continue
			}
			mark := []byte("first sector of the partition, by its own node......")
			disk, err := os.OpenFile(PartitionNode(d, p.Number), os.O_RDWR, 0)
			must(t, err)
			if size, err := disk.Seek(0, 2); size != p.Size || err != nil {
				t.Errorf("partition %d has %d bytes, want %d", p.Number, size, p.Size)
			}
			_, err = disk.WriteAt(mark, 0)
			must(t, err)
			must(t, disk.Sync())
			disk.Close()
			whole, err := openBlocks(d, os.O_RDONLY)
			must(t, err)
			got := make([]byte, len(mark))
			_, err = whole.ReadAt(got, p.Start)
			must(t, err)
			whole.Close()
			if string(got) != string(mark) {
				t.Errorf("partition %d isn't where the table has it", p.Number)
			}
		}
		must(t, DeletePartitions(d))
		must(t, DeletePartitions(d))
		if got := Nodes(d); len(got) != 1 {
			t.Errorf("left: %v", got)
		}
	})
}

// A disk number that had another disk's partitions gets those of its own table, even at the same places.
func TestStalePartitions(t *testing.T) {
	d := device(t, 16*mib, 512)
	part := func(number int, start, size int64) Partition {
		return Partition{Number: number, Start: start * mib, Size: size * mib}
	}
	old := &Table{Partitions: []Partition{part(1, 1, 2), part(2, 4, 2), part(3, 8, 2), part(5, 12, 1)}}
	_, err := AddPartitions(d, old)
	must(t, err)
	same, err := os.Open(PartitionNode(d, 1))
	must(t, err)
	defer same.Close()
	resized, err := os.OpenFile(PartitionNode(d, 3), os.O_RDONLY|unix.O_EXCL, 0)
	must(t, err)
	defer resized.Close()

	// 1 stays, 2 moves, 3 is stretched in use, 4 is new and lies where 5 was
	next := &Table{Partitions: []Partition{part(1, 1, 2), part(2, 5, 2), part(3, 8, 3), part(4, 12, 2)}}
	nodes, err := AddPartitions(d, next)
	must(t, err)
	if len(nodes) != 4 {
		t.Errorf("nodes %v", nodes)
	}
	var want []kernelPartition
	for _, p := range next.Partitions {
		want = append(want, kernelPartition{p.Number, p.Start, p.Size})
	}
	if got := kernelPartitions(d); !slices.Equal(got, want) {
		t.Errorf("the kernel has %v, want %v", got, want)
	}

	// One in use at another place stays as it is, and so it says.
	_, err = AddPartitions(d, &Table{Partitions: []Partition{part(3, 9, 1)}})
	wantCode(t, err, vss.ErrVolumeInUse)
	wantCode(t, DeletePartitions(d), vss.ErrVolumeInUse)
	if got := Nodes(d); !slices.Contains(got, PartitionNode(d, 3)) {
		t.Errorf("a partition in use is gone: %v", got)
	}
	resized.Close()
	same.Close()
	must(t, DeletePartitions(d))
}

// A table that no kernel takes, with partitions over each other, is refused.
func TestOverlappingPartitions(t *testing.T) {
	d := device(t, 16*mib, 512)
	_, err := AddPartitions(
		d,
		&Table{Partitions: []Partition{{Number: 1, Start: mib, Size: 4 * mib}, {Number: 2, Start: 2 * mib, Size: mib}}},
	)
	wantCode(t, err, vss.ErrUnexpected)
	_, err = AddPartitions(filepath.Join(t.TempDir(), "x"), &Table{})
	wantCode(t, err, vss.ErrObjectNotFound)
	wantCode(t, DeletePartitions("/dev/no such disk"), vss.ErrObjectNotFound)
}

// Two that add the same partitions at once don't disturb each other.
func TestAddPartitionsAtOnce(t *testing.T) {
	d := device(t, 16*mib, 512)
	tab := &Table{}
	for n := 1; n <= 8; n++ {
		tab.Partitions = append(tab.Partitions, Partition{Number: n, Start: int64(n) * mib, Size: mib})
	}
	for range 10 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := AddPartitions(d, tab); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		must(t, DeletePartitions(d))
	}
}

func TestSetReadOnly(t *testing.T) {
	d := device(t, 16*mib, 512)
	tab, err := Create(d, StyleGPT, "")
	must(t, err)
	nodes, err := AddPartitions(d, tab)
	must(t, err)
	write := func(node string) error {
		f, err := os.OpenFile(node, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err = f.WriteAt([]byte("x"), 4096); err != nil {
			return err
		}
		return f.Sync()
	}
	for _, ro := range []bool{true, true, false} {
		must(t, SetReadOnly(d, ro))
		for _, n := range []string{d, nodes[0]} {
			if ReadOnly(n) != ro {
				t.Errorf("%s: read-only %v, want %v", n, !ro, ro)
			}
			if err := write(n); (err != nil) != ro {
				t.Errorf("%s: read-only %v, and a write gives %v", n, ro, err)
			}
		}
	}
	wantCode(t, SetReadOnly("/dev/no such disk", true), vss.ErrObjectNotFound)
	if ReadOnly("/dev/no such disk") {
		t.Error("a disk that isn't there refuses writes")
	}
}
