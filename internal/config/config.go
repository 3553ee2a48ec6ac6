// Package config reads the configuration of a host, one TOML file. Everything in it has a default: without a file the
// service runs. A key that isn't known is an error, so that a slip of the pen doesn't pass for a setting.
package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// DefaultPath is where the file is looked for when none is named.
const DefaultPath = "/etc/vss/vss.toml"

// Config is the whole file. docs/vss.toml is a sample with every key.
type Config struct {
	Host      Host              `toml:"host"`
	Volumes   map[string]string `toml:"volumes"` // what scripts call a volume = mount point, device, UUID= or LABEL=; default none
	Letters   Letters           `toml:"letters"`
	Writers   Writers           `toml:"writers"`
	Providers Providers         `toml:"providers"`
	Accounts  map[string]Access `toml:"accounts"` // name of a local account = what it may be; default none
	Service   Service           `toml:"service"`
	Array     Array             `toml:"array"`
}

// Host is who this host is.
type Host struct {
	Name string `toml:"name"` // in masks and documents; default the hostname. Two --state/--run pairs are two hosts only if this differs
}

// Letters are drive letters that scripts from Windows use and [volumes] doesn't have.
type Letters struct {
	Root string `toml:"root"` // folder in which a letter is a folder; default RUN/letters
}

// Writers are the writers that the service starts itself, and how it takes what any writer does.
type Writers struct {
	Hooks  []string          `toml:"hooks"`  // hook writers: each entry one writer's folder, or a folder of such folders; default none
	Policy map[string]Policy `toml:"policy"` // name or class id of a writer = whether a set does without it; default none
	Limits Limits            `toml:"limits"`

	Postgres Postgres `toml:"postgres"`
	MariaDB  MariaDB  `toml:"mariadb"`
	Redis    Redis    `toml:"redis"`
	SQLite   SQLite   `toml:"sqlite"`
}

// Policy says what a writer's failure does to a set.
type Policy string

// Policies. A writer that isn't named is reported.
const (
	PolicyReport  Policy = "report"  // its status tells, and the consistency of the copies; the requester decides
	PolicyRequire Policy = "require" // no set without it: one that fails, or isn't there, fails the set
)

// Limits are how long a writer may take. Freeze to Thaw has the writer's own limit. The figures are ours where the original
// publishes none.
type Limits struct {
	Identify        Duration `toml:"identify"`         // default 60s
	PrepareSnapshot Duration `toml:"prepare_snapshot"` // default 10m
	Work            Duration `toml:"work"`             // the other events in which writers work; default 15m
}

// Providers are the providers that join over a socket.
type Providers struct {
	Accounts []string `toml:"accounts"` // names of accounts, besides root, whose processes may be providers; default none
}

// Service is how the service behaves.
type Service struct {
	ExposeRoots []string `toml:"expose_roots"` // folders below which members of the group may expose copies; default RUN/exposed
	IdleExit    Duration `toml:"idle_exit"`    // a service that a command started goes away this long after its last session; default 10s, 0s: at once
	HoldLimit   Duration `toml:"hold_limit"`   // the longest time that writes are held; more than 0, at most 10s, the default
	Group       string   `toml:"group"`        // members may make, list, expose and delete copies; default "backup"
}

// Array is the storage array that is part of the service.
type Array struct {
	Pools    []Pool `toml:"pools"`     // where its LUNs are; default one reflink pool of its own under STATE
	LowWater Size   `toml:"low_water"` // free space of a pool, in bytes, below which copies are dropped so that originals can still be written; default 0, chosen by the pool's size
}

// Pool is one pool of the array.
type Pool struct {
	Name string `toml:"name"` // as in `lun create --pool NAME`
	Type string `toml:"type"` // "reflink": a folder on XFS or btrfs; "thin": an LVM thin pool
	Path string `toml:"path"` // the folder, or VG/POOL
}

// Access says what the processes of an account may be. An account that is not named may be neither, but for root, which may
// be both; an explicit AccessNone shuts out root, too. Source: the writers' access control of the original (one value per
// account, 0 to 3).
type Access int

// What an account may be.
const (
	AccessNone      Access = 0
	AccessWriter    Access = 1
	AccessRequester Access = 2
	AccessBoth      Access = 3
)

// Writer says whether the account's processes may be writers.
func (a Access) Writer() bool { return a&AccessWriter != 0 }

// Requester says whether the account's processes may be requesters.
func (a Access) Requester() bool { return a&AccessRequester != 0 }

// MaxHoldLimit is the most that hold_limit can be.
const MaxHoldLimit = 10 * time.Second

// Default is the configuration without a file.
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
				Identify: Duration{time.Minute}, PrepareSnapshot: Duration{10 * time.Minute}, Work: Duration{15 * time.Minute},
			},
			MariaDB: MariaDB{LockWait: Duration{defaultLockWait}},
			SQLite:  SQLite{LockWait: Duration{defaultLockWait}},
		},
	}
}

// ExposeRoots are the folders below which members of the group may expose, given the folder of the running service.
func (c *Config) ExposeRoots(run string) []string {
	if len(c.Service.ExposeRoots) > 0 {
		return c.Service.ExposeRoots
	}
	return []string{filepath.Join(run, "exposed")}
}

// LettersRoot is the folder of the drive letters, given the folder of the running service.
func (c *Config) LettersRoot(run string) string {
	if c.Letters.Root != "" {
		return c.Letters.Root
	}
	return filepath.Join(run, "letters")
}

// AccessOf is what an account may be.
func (c *Config) AccessOf(account string) Access {
	if a, named := c.Accounts[account]; named {
		return a
	}
	if account == "root" {
		return AccessBoth
	}
	return AccessNone
}

// Required are the writers, by class id or name, without which no set is made.
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
