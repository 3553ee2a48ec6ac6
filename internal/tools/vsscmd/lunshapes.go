package vsscmd

import (
	"fmt"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
)

type lunJSON struct {
	ID              string    `json:"id"`
	Name            string    `json:"name"`
	Array           string    `json:"array"`
	Pool            string    `json:"pool"`
	Size            int64     `json:"size"`
	Serial          string    `json:"serial"`
	VPD83           string    `json:"vpd83"`
	Kind            string    `json:"kind"`
	Origin          string    `json:"origin"` // "" if there is none
	Method          string    `json:"method"`
	CompletePercent float64   `json:"complete_percent"`
	MappedTo        []string  `json:"mapped_to"`
	Device          string    `json:"device"`
	ReadOnly        bool      `json:"read_only"`
	Disk            *diskJSON `json:"disk"` // null if the LUN isn't on this host
}

type diskJSON struct {
	Style      string          `json:"style"`
	ID         string          `json:"id"`
	Flags      []string        `json:"flags"`
	Partitions []partitionJSON `json:"partitions"`
}

type partitionJSON struct {
	Number     int      `json:"number"`
	ID         string   `json:"id"`
	Device     string   `json:"device"`
	Start      int64    `json:"start"`
	Size       int64    `json:"size"`
	FileSystem string   `json:"file_system"`
	UUID       string   `json:"uuid"`
	Flags      []string `json:"flags"`
}

func lunShape(l requester.LUN) lunJSON {
	s := lunJSON{
		ID: l.ID.String(), Name: l.Name, Array: l.Array, Pool: l.Pool, Size: l.Size, Serial: l.Serial, VPD83: l.VPD83,
		Kind: l.Kind, Method: l.Method, CompletePercent: l.CompletePercent, MappedTo: cli.List(l.MappedTo),
		Device: l.Device, ReadOnly: l.ReadOnly,
	}
	if !l.Origin.IsZero() {
		s.Origin = l.Origin.String()
	}
	if d := l.Disk; d != nil {
		s.Disk = &diskJSON{d.Style, d.ID, d.Flags.Names(),
			cli.Each(d.Partitions, func(p requester.Partition) partitionJSON {
				return partitionJSON{p.Number, p.ID, p.Device, p.Start, p.Size, p.FileSystem, p.UUID, p.Flags.Names()}
			})}
	}
	return s
}

func (a *app) printLUNs(none string, list []requester.LUN) {
	header := []string{"NAME", "ID", "SIZE", "KIND", "ARRAY", "POOL", "DEVICE", "ACCESS", "MAPPED TO"}
	a.Table(none, header, cli.Each(list, func(l requester.LUN) []string {
		kind, access := l.Kind, "read/write"
		if l.Method != "" {
			kind += ", " + l.Method
		}
		if l.Method == "plex" && l.CompletePercent < 100 {
			kind += fmt.Sprintf(" %.0f%%", l.CompletePercent)
		}
		if l.ReadOnly {
			access = "read-only"
		}
		if l.Device == "" {
			access = "-"
		}
		return []string{
			cli.Dash(l.Name), l.ID.String(), cli.HumanSize(l.Size), kind, l.Array, l.Pool, cli.Dash(l.Device), access,
			cli.Dash(strings.Join(l.MappedTo, " ")),
		}
	}))
}

// printLUN prints a LUN and its partitions.
func (a *app) printLUN(l requester.LUN) {
	a.printLUNs("", []requester.LUN{l})
	if l.Disk == nil || len(l.Disk.Partitions) == 0 {
		return
	}
	fmt.Fprintf(a.Stdout, "\nPartition table: %s %s\n", l.Disk.Style, l.Disk.ID)
	header := []string{"PART", "DEVICE", "START", "SIZE", "FILE SYSTEM", "UUID", "FLAGS"}
	a.Table("", header, cli.Each(l.Disk.Partitions, func(p requester.Partition) []string {
		return []string{
			fmt.Sprint(p.Number), cli.Dash(p.Device), fmt.Sprint(p.Start), cli.HumanSize(p.Size),
			cli.Dash(p.FileSystem),
			cli.Dash(p.UUID), cli.Dash(strings.Join(p.Flags.Names(), " ")),
		}
	}))
}
