package vds

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
)

// workers is how many disks are worked on at once.
const workers = 32

// parallel calls f for each number from 0 to n-1, several at once, and returns when all calls have.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(workers, n) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// describeAll describes many LUNs, in their order.
func (m *Manager) describeAll(disks []Disk) []*vssv1.Lun {
	out := make([]*vssv1.Lun, len(disks))
	parallel(len(disks), func(i int) { out[i] = m.describe(disks[i]) })
	return out
}

// describe returns what an administrator sees of a LUN.
func (m *Manager) describe(d Disk) *vssv1.Lun {
	l := &d.LUN
	out := &vssv1.Lun{
		Id: l.ID.String(), Name: l.Name, Array: l.Array, Pool: l.Pool, Size: l.Size, Serial: l.Serial,
		Vpd83: "naa." + l.NAA, Kind: string(l.Kind),
		Method: string(l.Method), CompletePercent: l.Percent, MappedTo: l.MappedTo, Device: d.Device,
	}
	if !l.Origin.IsZero() {
		out.Origin = l.Origin.String()
	}
	if d.Device == "" {
		return out
	}
	out.ReadOnly = sysNumber(sysPath(d.Device)+"/ro") != 0
	c, err := m.contents.of(d.Device)
	if err != nil { // the disk was removed, or its table is damaged: the LUN exists nevertheless
		return out
	}
	t := c.table
	out.Disk = &vssv1.LunDisk{Style: t.Style.String(), Id: diskID(t), Flags: uint32(t.Flags)}
	if t.Style == disk.StyleNone {
		out.Disk.Flags = uint32(l.Flags)
		out.Disk.Partitions = []*vssv1.LunPartition{
			{Device: d.Device, Size: t.Size, Flags: uint32(l.Flags), FileSystem: c.fs[0].Type, Uuid: c.fs[0].UUID},
		}
	}
	for _, p := range t.Partitions {
		lp := &vssv1.LunPartition{
			Number:     int32(p.Number),
			Id:         partitionID(t, p),
			Start:      p.Start,
			Size:       p.Size,
			Flags:      uint32(p.Flags),
			FileSystem: c.fs[p.Number].Type,
			Uuid:       c.fs[p.Number].UUID,
		}
		if node := disk.PartitionNode(d.Device, p.Number); exists(sysPath(node)) {
			lp.Device = node
		}
		out.Disk.Partitions = append(out.Disk.Partitions, lp)
	}
	return out
}

// diskID is how tools print a disk's id: GPT's GUID, MBR's signature.
func diskID(t *disk.Table) string {
	switch {
	case t.Style == disk.StyleMBR:
		return fmt.Sprintf("0x%08x", binary.LittleEndian.Uint32(t.Identity.Disk[:4]))
	case t.Identity.Disk.IsZero():
		return ""
	}
	return t.Identity.Disk.String()
}

// partitionID is a partition's id as Linux has it in PARTUUID; an MBR has none but the disk's and the number.
func partitionID(t *disk.Table, p disk.Partition) string {
	if t.Style == disk.StyleMBR {
		return fmt.Sprintf("%08x-%02x", binary.LittleEndian.Uint32(t.Identity.Disk[:4]), p.Number)
	}
	return p.ID.String()
}

// describeArrays describes all arrays. Errors: the arrays'.
func (m *Manager) describeArrays(ctx context.Context) ([]*vssv1.StorageArray, error) {
	out := []*vssv1.StorageArray{}
	for _, a := range m.cfg.Arrays {
		info, err := a.Info(ctx)
		if err != nil {
			return nil, err
		}
		s := &vssv1.StorageArray{Name: info.Name, Address: info.Address, Targets: info.Targets}
		for _, p := range info.Pools {
			s.Pools = append(s.Pools, &vssv1.StoragePool{Name: p.Name, Type: p.Type, Size: p.Size, Free: p.Free})
		}
		out = append(out, s)
	}
	return out, nil
}
