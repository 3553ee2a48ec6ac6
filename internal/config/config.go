// Package config reads the configuration of a host, one TOML file. All keys have defaults, and the file is optional.
// Unknown keys are errors, so that misspelt ones aren't ignored.
package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// DefaultPath is the path of the file if none is given.
const DefaultPath = "/etc/vss/vss.toml"

// Config is the content of the file. docs/vss.toml is an example with every key.
type Config struct {
	Host Host `toml:"host"`
	// name of a volume in scripts = mount point, device, UUID= or LABEL=; default none
	Volumes   map[string]string `toml:"volumes"`
	Letters   Letters           `toml:"letters"`
	Writers   Writers           `toml:"writers"`
	Providers Providers         `toml:"providers"`
	Accounts  map[string]Access `toml:"accounts"` // name of a local account = its rights; default none
	Service   Service           `toml:"service"`
	Array     Array             `toml:"array"`
}

// Host identifies this host.
type Host struct {
	// in masks and documents; default the hostname. Two --state/--run pairs are two hosts only if this differs
	Name string `toml:"name"`
}

// Letters configures drive letters that scripts from Windows use and that [volumes] doesn't define.
type Letters struct {
	Root string `toml:"root"` // folder with a folder for each letter; default RUN/letters
}

// Writers configures the writers of the service, and how results of any writer are treated.
type Writers struct {
	Hooks  []string          `toml:"hooks"`  // folders of hook writers, or folders of such folders; default none
	Policy map[string]Policy `toml:"policy"` // name or class id of a writer = whether it is required; default none
	Limits Limits            `toml:"limits"`
	// ordinary accounts whose database servers count, besides those of root and of system accounts; default none
	Accounts []string `toml:"accounts"`

	Postgres Postgres `toml:"postgres"`
	MariaDB  MariaDB  `toml:"mariadb"`
	Redis    Redis    `toml:"redis"`
	SQLite   SQLite   `toml:"sqlite"`
}

// Policy is the effect of a writer's failure on a set.
type Policy string

// Policies. Writers that aren't named have PolicyReport.
const (
	PolicyReport  Policy = "report"  // its status and the consistency of the copies report it; the requester decides
	PolicyRequire Policy = "require" // a set fails if the writer fails or is missing
)

// Limits are how long a writer may take. Freeze to Thaw has the writer's own limit. Microsoft documents no figures for
// some of them.
type Limits struct {
	Identify        Duration `toml:"identify"`         // default 60s
	PrepareSnapshot Duration `toml:"prepare_snapshot"` // default 10m
	Work            Duration `toml:"work"`             // other events that let writers work; default 15m
}

// Providers configures the providers that connect over a socket.
type Providers struct {
	Accounts []string `toml:"accounts"` // accounts, besides root, whose processes may be providers; default none
}

// Service configures the service itself.
type Service struct {
	// folders below which members of the group may expose copies; default RUN/exposed
	ExposeRoots []string `toml:"expose_roots"`
	// time after the last session until a service ends that was started on demand; default 10s
	IdleExit Duration `toml:"idle_exit"`
	// the longest time that writes are held; more than 0, at most 10s, the default
	HoldLimit Duration `toml:"hold_limit"`
	// group whose members may create, list, expose and delete copies; default "backup"
	Group string `toml:"group"`
}

// Array configures the storage array that is part of the service.
type Array struct {
	Pools []Pool `toml:"pools"` // pools for its LUNs; default one reflink pool of its own below STATE
	// free space of a pool below which copies are dropped so that originals can be written; default 0: chosen by the
	// pool's size
	LowWater Size `toml:"low_water"`
}

// Pool is one pool of the array.
type Pool struct {
	Name string `toml:"name"` // as in `lun create --pool NAME`
	Type string `toml:"type"` // "reflink": a folder on XFS or btrfs; "thin": an LVM thin pool
	Path string `toml:"path"` // the folder, or VG/POOL
}

// Access is the set of rights of an account's processes. Accounts that are not named have none, except for root, which
// has all; an explicit AccessNone applies to root as well. Source: the writers' access control of VSS (one value per
// account, 0 to 3).
type Access int

// Rights of an account.
const (
	AccessNone      Access = 0
	AccessWriter    Access = 1
	AccessRequester Access = 2
	AccessBoth      Access = 3
)

// Writer reports whether the account's processes may be writers.
func (a Access) Writer() bool { return a&AccessWriter != 0 }

// Requester reports whether the account's processes may be requesters.
func (a Access) Requester() bool { return a&AccessRequester != 0 }

// MaxHoldLimit is the maximum of hold_limit.
const MaxHoldLimit = 10 * time.Second

// Default returns the configuration without a file.
func Default() *Config {
	return &Config{
		Host: Host{Name: hostname()},
		Service: Service{
			IdleExit:  Duration{10 * time.Second},
			HoldLimit: Duration{MaxHoldLimit},
			Group:     "backup",
		},
		Writers: Writers{
			Limits: Limits{
				Identify: Duration{
					time.Minute,
				}, PrepareSnapshot: Duration{10 * time.Minute}, Work: Duration{15 * time.Minute},
			},
			MariaDB: MariaDB{LockWait: Duration{defaultLockWait}},
			SQLite:  SQLite{LockWait: Duration{defaultLockWait}},
		},
	}
}

// ExposeRoots returns the folders below which members of the group may expose, given the run directory of the service.
func (c *Config) ExposeRoots(run string) []string {
	if len(c.Service.ExposeRoots) > 0 {
		return c.Service.ExposeRoots
	}
	return []string{filepath.Join(run, "exposed")}
}

// LettersRoot returns the folder of the drive letters, given the run directory of the service.
func (c *Config) LettersRoot(run string) string {
	if c.Letters.Root != "" {
		return c.Letters.Root
	}
	return filepath.Join(run, "letters")
}

// AccessOf returns the rights of an account.
func (c *Config) AccessOf(account string) Access {
	if a, named := c.Accounts[account]; named {
		return a
	}
	if account == "root" {
		return AccessBoth
	}
	return AccessNone
}

// Required returns the writers, by class id or name, that a set requires.
func (w *Writers) Required() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(w.Policy)) {
		if w.Policy[name] == PolicyRequire {
			all = append(all, name)
		}
	}
	return all
}

func hostname() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}
