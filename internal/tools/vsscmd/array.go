package vsscmd

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
)

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

func arrayShape(s requester.StorageArray) arrayJSON {
	pools := cli.Each(s.Pools, func(p requester.StoragePool) poolJSON { return poolJSON(p) })
	return arrayJSON{s.Name, s.Address, pools, cli.List(s.Targets)}
}

func (a *app) arrayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "array",
		Short: "Show the storage arrays of this host",
		Long: `Array shows the storage arrays that the service of this host uses. The built-in one is named
local. Root only.`,
		Example: "  vss array list",
		RunE:    a.group,
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "List storage arrays and their pools",
		Long:    "List prints every array with its pools, their size and their free space.",
		Example: "  vss array list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.With(cmd.Context(), func(c *requester.Client) error {
				all, err := c.Disks().ListArrays(cmd.Context())
				if err != nil {
					return err
				}
				if a.JSON {
					a.PrintJSON(cli.Each(all, arrayShape))
					return nil
				}
				var rows [][]string
				for _, s := range all {
					for _, p := range s.Pools {
						rows = append(rows, []string{
							s.Name, cli.Dash(s.Address), p.Name, p.Type, cli.HumanSize(p.Size), cli.HumanSize(p.Free),
							strings.Join(s.Targets, " "),
						})
					}
				}
				header := []string{"ARRAY", "ADDRESS", "POOL", "TYPE", "SIZE", "FREE", "TARGETS"}
				a.Table("There are no arrays.", header, rows)
				return nil
			})
		},
	})
	return cmd
}
