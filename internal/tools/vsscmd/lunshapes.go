package vsscmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The JSON shapes of arrays and LUNs. Fields are added, never renamed or dropped.

type lunJSON struct {
	ID              string    `json:"id"`
	Name            string    `json:"name"`
	Array           string    `json:"array"`
	Pool            string    `json:"pool"`
	Size            int64     `json:"size"`
	Serial          string    `json:"serial"`
	VPD83           string    `json:"vpd83"`
	Kind            string    `json:"kind"`
	Origin          string    `json:"origin"`
	Method          string    `json:"method"`
	CompletePercent float64   `json:"complete_percent"`
	MappedTo        []string  `json:"mapped_to"`
	Device          string    `json:"device"`
	ReadOnly        bool      `json:"read_only"`
	Disk            *diskJSON `json:"disk"` // null while the LUN isn't on this host
}

type diskJSON struct {
	Style      string          `json:"style"`
	ID         string          `json:"id"`
	Flags      []string        `json:"flags"`
	Partitions []partitionJSON `json:"partitions"`
}

type partitionJSON struct {
	Number     int32    `json:"number"`
	ID         string   `json:"id"`
	Device     string   `json:"device"`
	Start      int64    `json:"start"`
	Size       int64    `json:"size"`
	FileSystem string   `json:"file_system"`
	UUID       string   `json:"uuid"`
	Flags      []string `json:"flags"`
}

type arrayJSON struct {
	Name    string     `json:"name"`
	Address string     `json:"address"`
	Pools   []poolJSON `json:"pools"`
	Targets []string   `json:"targets"`
}

type poolJSON struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Size int64  `json:"size"`
	Free int64  `json:"free"`
}

func flagNames(bits uint32) []string { return vss.DiskFlags(bits).Names() }

func lunShape(l *vssv1.Lun) lunJSON {
	s := lunJSON{
		ID: l.GetId(), Name: l.GetName(), Array: l.GetArray(), Pool: l.GetPool(), Size: l.GetSize(), Serial: l.GetSerial(), VPD83: l.GetVpd83(),
		Kind: l.GetKind(), Origin: l.GetOrigin(), Method: l.GetMethod(), CompletePercent: l.GetCompletePercent(), MappedTo: each(l.GetMappedTo(), same),
		Device: l.GetDevice(), ReadOnly: l.GetReadOnly(),
	}
	if d := l.GetDisk(); d != nil {
		s.Disk = &diskJSON{d.GetStyle(), d.GetId(), flagNames(d.GetFlags()), each(d.GetPartitions(), func(p *vssv1.LunPartition) partitionJSON {
			return partitionJSON{p.GetNumber(), p.GetId(), p.GetDevice(), p.GetStart(), p.GetSize(), p.GetFileSystem(), p.GetUuid(), flagNames(p.GetFlags())}
		})}
	}
	return s
}

func arrayShape(s *vssv1.StorageArray) arrayJSON {
	return arrayJSON{s.GetName(), s.GetAddress(), each(s.GetPools(), func(p *vssv1.StoragePool) poolJSON {
		return poolJSON{p.GetName(), p.GetType(), p.GetSize(), p.GetFree()}
	}), each(s.GetTargets(), same)}
}

func (a *app) luns(none string, list []*vssv1.Lun) {
	a.table(none, []string{"NAME", "ID", "SIZE", "KIND", "ARRAY", "POOL", "DEVICE", "ACCESS", "MAPPED TO"}, each(list, func(l *vssv1.Lun) []string {
		kind, access := l.GetKind(), "read/write"
		if l.GetMethod() != "" {
			kind += ", " + l.GetMethod()
		}
		if l.GetMethod() == "plex" && l.GetCompletePercent() < 100 {
			kind += fmt.Sprintf(" %.0f%%", l.GetCompletePercent())
		}
		if l.GetReadOnly() {
			access = "read-only"
		}
		if l.GetDevice() == "" {
			access = "-"
		}
		return []string{
			dash(l.GetName()), l.GetId(), humanSize(l.GetSize()), kind, l.GetArray(), l.GetPool(), dash(l.GetDevice()), access, dash(strings.Join(l.GetMappedTo(), " ")),
		}
	}))
}

func (a *app) lun(l *vssv1.Lun) {
	a.luns("", []*vssv1.Lun{l})
	if l.GetDisk() == nil || len(l.GetDisk().GetPartitions()) == 0 {
		return
	}
	fmt.Fprintf(a.stdout, "\nPartition table: %s %s\n", l.GetDisk().GetStyle(), l.GetDisk().GetId())
	a.table("", []string{"PART", "DEVICE", "START", "SIZE", "FILE SYSTEM", "UUID", "FLAGS"}, each(l.GetDisk().GetPartitions(), func(p *vssv1.LunPartition) []string {
		return []string{
			fmt.Sprint(p.GetNumber()), dash(p.GetDevice()), fmt.Sprint(p.GetStart()), humanSize(p.GetSize()), dash(p.GetFileSystem()), dash(p.GetUuid()),
			dash(strings.Join(flagNames(p.GetFlags()), " ")),
		}
	}))
}

func (a *app) arrayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "array",
		Short:   "Show the storage arrays of this host",
		Long:    "Array tells which storage arrays this host's service knows. The embedded one is named local. Root only.",
		Example: "  vss array list",
		RunE:    a.group,
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "List storage arrays and their pools",
		Long:    "List shows every known array with its pools, how large each is and how much of it is free.",
		Example: "  vss array list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.disks(cmd.Context(), func(d vssv1.DisksClient) error {
				r, err := d.ListArrays(cmd.Context(), &vssv1.ListArraysRequest{})
				if err != nil {
					return err
				}
				if a.json {
					a.print(each(r.GetArrays(), arrayShape))
					return nil
				}
				var rows [][]string
				for _, s := range r.GetArrays() {
					for _, p := range s.GetPools() {
						rows = append(rows, []string{s.GetName(), dash(s.GetAddress()), p.GetName(), p.GetType(), humanSize(p.GetSize()), humanSize(p.GetFree()), strings.Join(s.GetTargets(), " ")})
					}
				}
				a.table("There are no arrays.", []string{"ARRAY", "ADDRESS", "POOL", "TYPE", "SIZE", "FREE", "TARGETS"}, rows)
				return nil
			})
		},
	})
	return cmd
}
