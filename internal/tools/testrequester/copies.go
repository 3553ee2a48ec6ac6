package testrequester

import (
	"context"
	"strconv"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// copies are the calls for existing copies.
var copies = []call{
	{"ImportSnapshots", "", 0, 0, nil, func(ctx context.Context, r *runner, _ []string) (*requester.Async, error) {
		return r.b.ImportSnapshots(ctx)
	}},
	{"GetSnapshotProperties", "COPY", 1, 1, func(ctx context.Context, r *runner, a []string) (any, error) {
		return r.copy(ctx, a[0], r.b.GetSnapshotProperties)
	}, nil},
	{"MountSnapshot", "COPY", 1, 1, func(ctx context.Context, r *runner, a []string) (any, error) {
		return r.copy(ctx, a[0], r.b.MountSnapshot)
	}, nil},
	{"ExposeSnapshot", "COPY PATH", 2, 2, func(ctx context.Context, r *runner, a []string) (any, error) {
		return r.copy(ctx, a[0], func(ctx context.Context, id vss.SnapshotID) (requester.Snapshot, error) {
			return r.b.ExposeSnapshot(ctx, id, "", vss.AttrExposedLocally, a[1])
		})
	}, nil},
	{"UnexposeSnapshot", "COPY", 1, 1, func(ctx context.Context, r *runner, a []string) (any, error) {
		return r.copy(ctx, a[0], r.b.UnexposeSnapshot)
	}, nil},
	{"QuerySnapshots", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		all, err := r.b.QuerySnapshots(ctx)
		return cli.Each(all, cli.NewCopy), err
	}, nil},
	{"QueryProviders", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		all, err := r.b.QueryProviders(ctx)
		return cli.Each(all, cli.NewProvider), err
	}, nil},
	{"DeleteSnapshots", "COPY|SET [force]", 1, 2, func(ctx context.Context, r *runner, a []string) (any, error) {
		id, err := vss.ParseGUID(a[0])
		if err != nil {
			return nil, err
		}
		deleted, _, err := r.b.DeleteSnapshots(ctx, id, vss.ObjectUnknown, second(a) == "force")
		return deleted, err
	}, nil},
	{"BreakSnapshotSet", "SET [FLAGS]", 1, 2, nil, func(ctx context.Context, r *runner, a []string) (*requester.Async,
		error) {
		id, err := vss.ParseGUID(a[0])
		if err != nil {
			return nil, err
		}
		var flags uint64
		if len(a) > 1 {
			if flags, err = strconv.ParseUint(a[1], 0, 32); err != nil {
				return nil, invalid(err)
			}
		}
		return r.b.BreakSnapshotSetEx(ctx, vss.SnapshotSetID{GUID: id}, vss.BreakFlags(flags))
	}},
}

// copy makes a call that returns a copy.
func (r *runner) copy(
	ctx context.Context, text string, f func(context.Context, vss.SnapshotID) (requester.Snapshot, error),
) (any, error) {
	id, err := vss.ParseGUID(text)
	if err != nil {
		return nil, err
	}
	s, err := f(ctx, vss.SnapshotID{GUID: id})
	if err != nil {
		return nil, err
	}
	return cli.NewCopy(s), nil
}
