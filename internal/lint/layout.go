// Package lint checks rules of this module: which package may import which, what only some packages may use, sizes,
// duplicates and wording. Its tests read the module's own source; `make lint` and `go test ./internal/lint` run them.
package lint

import "strings"

const module = "github.com/stillpoint-vss/stillpoint"

// layout lists the packages in the order of dependence: a package may import packages of rows above its own, and those
// below its own path. A package that isn't listed belongs to the longest listed path above it.
var layout = [][]string{
	{"vss"},
	{"conformance", "internal/atomicfile", "internal/boot", "internal/counters", "internal/journal", "internal/lint"},
	{"api/vss/v1", "document", "internal/background", "internal/config", "internal/fault"},
	{"internal/wire", "internal/sockets"},
	{"internal/handover"},
	{"requester", "writer", "provider"},
	{"writer/writertest", "provider/providertest"},
	{"internal/mount"},
	{"internal/lane"},
	{"internal/disk"},
	{"internal/volume"},
	{"internal/hold"},
	{"internal/catalog"},
	{"internal/events", "internal/recovery"},
	{"internal/array"},
	{"internal/array/loopdev"},
	{"internal/array/pool", "internal/array/target"},
	{"internal/providers", "internal/writers"},
	{"internal/vds"},
	{"internal/copies", "internal/writerset"},
	{"internal/coordinator"},
	{"internal/rpc"},
	{"internal/service"},
	{"internal/demo"},
	{"internal/tools"},
	{"cmd", "lab", "examples", "packaging", "internal/e2e", "internal/labtest"},
}

// strangers lists packages whose children don't import each other: they meet in the interfaces of provider, writer,
// array. What is imported by several of them stands in shared.
var (
	strangers = []string{
		"internal/writers",
		"internal/providers",
		"internal/array/pool",
		"internal/array/target",
		"internal/tools",
	}
	shared = []string{
		"internal/array/pool/pooltest",
		"internal/writers/engine",
		"internal/writers/server",
		"internal/writers/aside",
		"internal/tools/cli",
	}
)

// owners lists imports that only some packages may have, with the reason.
var owners = []struct {
	path   string
	owners []string
	reason string
}{
	{"go.etcd.io/bbolt", []string{"internal/catalog"}, "the catalogue's file has one schema, in one place"},
	{
		"google.golang.org/grpc/status",
		[]string{"internal/wire", "api"},
		"errors cross a socket in one place: return a *vss.Error",
	},
	{
		"google.golang.org/grpc",
		[]string{
			"api",
			"internal/wire",
			"provider",
			"writer",
			"requester",
			"internal/array/remote",
			"internal/rpc",
			"internal/vds",
			"internal/service",
			"cmd",
		},
		"gRPC stays at the edges",
	},
	{"github.com/diskfs/go-diskfs", []string{"internal/disk"}, "partition tables are read and written in one place"},
	{"github.com/spf13/cobra", []string{"internal/tools", "cmd"}, "only tools have a command line"},
	{
		"github.com/jackc/pgx",
		[]string{"internal/writers/postgres", "internal/demo/pgserver"},
		"a database driver is its writer's alone; the demo is a client",
	},
	{"github.com/go-sql-driver/mysql", []string{"internal/writers/mariadb"}, "a database driver is its writer's alone"},
	{"github.com/redis/go-redis", []string{"internal/writers/redis"}, "a database driver is its writer's alone"},
	{"C", nil, "programs are static: CGO_ENABLED=0"},
	{
		module + "/internal/lane",
		[]string{"internal/array/pool/pooltest", "internal/writers/engine/enginetest", "lab"},
		"lanes are for tests",
	},
}

// banned lists functions that only some packages may call outside of tests, with the reason.
var banned = []struct {
	pkg, name string
	except    []string
	reason    string
}{
	{"os", "IsNotExist", nil, "use errors.Is(err, fs.ErrNotExist), which looks into wrapped errors"},
	{"os", "IsExist", nil, "use errors.Is(err, fs.ErrExist), which looks into wrapped errors"},
	// These packages poll the kernel for what it doesn't report.
	{
		"time",
		"Sleep",
		[]string{
			"internal/fault",
			"internal/array",
			"internal/disk",
			"internal/hold",
			"internal/vds",
			"internal/volume",
			"provider/providertest",
			"writer/writertest",
			"internal/lane",
			"lab",
		},
		"wait for a channel or a context, so that it can be cancelled",
	},
	{
		"time",
		"Now",
		[]string{"internal", "requester", "writer", "provider", "conformance", "cmd", "lab", "examples"},
		"vocabulary and documents are the same at any time",
	},
	{"context", "TO" + "DO", nil, // split, so that it isn't found as unfinished
		"take the caller's context"},
	{unixPkg, "Mount", mounters, mountReason},
	{unixPkg, "Unmount", mounters, mountReason},
	{unixPkg, "Openat2", mounters, mountReason},
	{unixPkg, "Setns", mounters, mountReason},
	{unixPkg, "Fsopen", mounters, mountReason},
	{unixPkg, "Fsmount", mounters, mountReason},
	{unixPkg, "Fspick", mounters, mountReason},
	{unixPkg, "OpenTree", mounters, mountReason},
	{unixPkg, "MoveMount", mounters, mountReason},
	{unixPkg, "MountSetattr", mounters, mountReason},
}

const (
	unixPkg     = "golang.org/x/sys/unix"
	mountReason = "mounts are made and removed in one place: use internal/mount"
)

// mounters may mount and unmount: internal/mount, and what is for tests.
var mounters = []string{
	"internal/mount", "internal/array/pool/pooltest", "internal/writers/engine/enginetest", "lab",
}

// within reports whether a package is one of names or below one.
func within(pkg string, names []string) bool {
	for _, n := range names {
		if pkg == n || strings.HasPrefix(pkg, n+"/") {
			return true
		}
	}
	return false
}

// row returns a package's row of the layout, and the name that it has there.
func row(pkg string) (at int, name string) {
	at = -1
	for i, names := range layout {
		for _, n := range names {
			if len(n) > len(name) && within(pkg, []string{n}) {
				at, name = i, n
			}
		}
	}
	return at, name
}

// child returns the name of the child of parent that a package is or is below, "" if it is below none.
func child(pkg, parent string) string {
	rest, ok := strings.CutPrefix(pkg, parent+"/")
	if !ok || within(pkg, shared) {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// mayImport returns why a package may not import another of ours, "" if it may. Both without the module's path.
func mayImport(from, to string) string {
	a, name := row(from)
	b, other := row(to)
	switch {
	case a < 0:
		return from + " isn't in the layout: give it a row in internal/lint/layout.go"
	case b < 0:
		return to + " isn't in the layout: give it a row in internal/lint/layout.go"
	case from == to || name == other && (within(to, []string{from}) || within(from, []string{to})):
		return ""
	}
	for _, parent := range strangers {
		x, y := child(from, parent), child(to, parent)
		if x != "" && y != "" && x != y {
			return from + " and " + to + " may not import each other"
		}
	}
	if within(from, []string{"internal/tools", "internal/demo"}) && within(to, []string{"api"}) {
		return "tools call the service with package requester, not with " + to
	}
	if within(from, []string{"internal/tools"}) && within(to, []string{"internal/coordinator", "internal/catalog"}) {
		return "tools go through the service: " + to + " is its own"
	}
	disks := []string{"internal/array", "internal/vds", "internal/disk", "internal/mount"}
	if within(from, []string{"internal/coordinator"}) && within(to, disks) {
		return "the coordinator knows kinds of copies, not LUNs: " + to + " is for internal/copies"
	}
	if a < b || a == b && name != other {
		return from + " may not import " + to + ", which is not above it in the layout"
	}
	return ""
}
