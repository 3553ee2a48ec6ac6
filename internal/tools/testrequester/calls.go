package testrequester

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// call is a call that a script can make. It has run, or begin if it is asynchronous.
type call struct {
	name     string
	args     string // description of the arguments
	min, max int    // number of arguments; max -1: no maximum
	run      func(ctx context.Context, r *runner, args []string) (any, error)
	begin    func(ctx context.Context, r *runner, args []string) (*requester.Async, error)
}

func (c *call) usage() string { return strings.TrimSpace(c.name + " " + c.args) }

// calls are all calls, with the names of IVssBackupComponents, in the order of a backup.
var calls []call

func init() { calls = slices.Concat(own, backup, copies, restore) }

// own are the calls that are not methods of IVssBackupComponents.
var own = []call{
	{"Open", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) { return nil, r.open(ctx) }, nil},
	{"Release", "", 0, 0, func(_ context.Context, r *runner, _ []string) (any, error) { r.b.Close(); return nil, nil },
		nil},
	{"Sleep", "DURATION", 1, 1, func(ctx context.Context, _ *runner, a []string) (any, error) {
		d, err := time.ParseDuration(a[0])
		if err != nil {
			return nil, invalid(err)
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	}, nil},
	{"Wait", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		if r.running == nil {
			return nil, invalid(errors.New("no operation was started with &"))
		}
		return finish(r.running.Wait(ctx, nil))
	}, nil},
	{"QueryStatus", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		if r.running == nil {
			return nil, invalid(errors.New("no operation was started with &"))
		}
		s, err := r.running.QueryStatus(ctx)
		if err == nil {
			err = s.Err
		}
		return success(s.Result), err
	}, nil},
	{"Cancel", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		if r.running == nil {
			return nil, invalid(errors.New("no operation was started with &"))
		}
		return finish(r.running.Cancel(ctx))
	}, nil},
}

// success is a success code as the value of a call.
type success vss.Code

// finish returns the result of an operation. If it was cancelled that is a success code, not an error.
func finish(code vss.Code, err error) (any, error) {
	if code == vss.SuccessAsyncCancelled {
		err = nil
	}
	return success(code), err
}

// invalid returns the error for an invalid argument in the script, for which the service was not called.
func invalid(err error) error { return vss.E("Script", vss.ErrInvalidArg, err) }

var backup = []call{
	{"InitializeForBackup", "[DOCUMENT]", 0, 1, func(ctx context.Context, r *runner, a []string) (any, error) {
		var doc []byte
		if len(a) > 0 {
			var err error
			if doc, err = os.ReadFile(a[0]); err != nil {
				return nil, invalid(err)
			}
		}
		return nil, r.b.InitializeForBackup(ctx, doc)
	}, nil},
	{"SetContext", "CONTEXT|NUMBER [ATTRIBUTE]...", 1, -1, func(ctx context.Context, r *runner, a []string) (any,
		error) {
		c, err := contextOf(a)
		if err != nil {
			return nil, err
		}
		return nil, r.b.SetContext(ctx, c)
	}, nil},
	{"SetBackupState", "[component] [bootable] [partial] [full|incremental|differential|log|copy|other|NUMBER]", 0, 4,
		func(ctx context.Context, r *runner, a []string) (any, error) {
			flags := map[string]bool{}
			kind := vss.BackupFull
			for _, w := range a {
				switch t, err := numbered(w, vss.BackupOther); {
				case w == "component" || w == "bootable" || w == "partial":
					flags[w] = true
				case err != nil:
					return nil, err
				default:
					kind = t
				}
			}
			return nil, r.b.SetBackupState(ctx, flags["component"], flags["bootable"], kind, flags["partial"])
		}, nil},
	{"EnableWriterClasses", "ID|NAME...", 1, -1, func(ctx context.Context, r *runner, a []string) (any, error) {
		return nil, r.b.EnableWriterClasses(ctx, a...)
	}, nil},
	{"DisableWriterClasses", "ID|NAME...", 1, -1, func(ctx context.Context, r *runner, a []string) (any, error) {
		return nil, r.b.DisableWriterClasses(ctx, a...)
	}, nil},
	{"DisableWriterInstances", "INSTANCE...", 1, -1, func(ctx context.Context, r *runner, a []string) (any, error) {
		ids := make([]vss.WriterInstanceID, len(a))
		for i, s := range a {
			var err error
			if ids[i].GUID, err = vss.ParseGUID(s); err != nil {
				return nil, err
			}
		}
		return nil, r.b.DisableWriterInstances(ctx, ids...)
	}, nil},
	{"GatherWriterMetadata", "", 0, 0, nil, func(ctx context.Context, r *runner, _ []string) (*requester.Async, error) {
		return r.b.GatherWriterMetadata(ctx)
	}},
	{"GetWriterMetadata", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		all, err := r.b.GetWriterMetadata(ctx)
		return metadataDocs(all), err
	}, nil},
	onComponent("AddComponent", "", 0, func(ctx context.Context, r *runner, c requester.Component, _ []string) error {
		return r.b.AddComponent(ctx, c)
	}),
	{"StartSnapshotSet", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		id, err := r.b.StartSnapshotSet(ctx)
		if err != nil {
			return nil, err
		}
		r.names["$SET"] = id.String()
		return id, nil
	}, nil},
	{"AddToSnapshotSet", "VOLUME [PROVIDER]", 1, 2, func(ctx context.Context, r *runner, a []string) (any, error) {
		id, err := r.b.AddToSnapshotSet(ctx, a[0], second(a))
		if err != nil {
			return nil, err
		}
		r.copies++
		r.names[fmt.Sprintf("$COPY%d", r.copies)] = id.String()
		return id, nil
	}, nil},
	{"IsVolumeSupported", "VOLUME [PROVIDER]", 1, 2, func(ctx context.Context, r *runner, a []string) (any, error) {
		return r.b.IsVolumeSupported(ctx, a[0], second(a))
	}, nil},
	{"PrepareForBackup", "", 0, 0, nil, func(ctx context.Context, r *runner, _ []string) (*requester.Async, error) {
		return r.b.PrepareForBackup(ctx)
	}},
	{"DoSnapshotSet", "[HOLD-LIMIT]", 0, 1, nil, func(ctx context.Context, r *runner, a []string) (*requester.Async,
		error) {
		var limit time.Duration
		if len(a) > 0 {
			var err error
			if limit, err = time.ParseDuration(a[0]); err != nil {
				return nil, invalid(err)
			}
		}
		return r.b.DoSnapshotSet(ctx, limit)
	}},
	{"GatherWriterStatus", "", 0, 0, nil, func(ctx context.Context, r *runner, _ []string) (*requester.Async, error) {
		return r.b.GatherWriterStatus(ctx)
	}},
	{"GetWriterStatus", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		all, err := r.b.GetWriterStatus(ctx)
		return statusDocs(all), err
	}, nil},
	withFlag("SetBackupSucceeded", (*requester.BackupComponents).SetBackupSucceeded),
	{"BackupComplete", "", 0, 0, nil, func(ctx context.Context, r *runner, _ []string) (*requester.Async, error) {
		return r.b.BackupComplete(ctx)
	}},
	{"AbortBackup", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		return nil,
			r.b.AbortBackup(ctx)
	}, nil},
	{"SaveAsXML", "[FILE]", 0, 1, func(ctx context.Context, r *runner, a []string) (any, error) {
		xml, err := r.b.SaveAsXML(ctx)
		if err != nil || len(a) == 0 {
			return string(xml), err
		}
		if err := os.WriteFile(a[0], xml, 0o600); err != nil {
			return nil, invalid(err)
		}
		return nil, nil
	}, nil},
}

func second(a []string) string {
	if len(a) > 1 {
		return a[1]
	}
	return ""
}

// contextOf parses a context by name or number, followed by names of attributes.
func contextOf(a []string) (vss.Context, error) {
	var c vss.Context
	if n, err := strconv.ParseUint(a[0], 0, 32); err == nil {
		c = vss.Context(n)
	} else if c, err = vss.ContextByName(a[0]); err != nil {
		return 0, err
	}
	for _, name := range a[1:] {
		i := slices.IndexFunc(attributes,
			func(b vss.Attributes) bool { return slices.Equal(b.Names(), []string{name}) })
		if i < 0 {
			return 0, invalid(fmt.Errorf("unknown attribute %q", name))
		}
		c |= attributes[i]
	}
	return c, nil
}

// attributes are the single attribute bits.
var attributes = func() (all []vss.Attributes) {
	for i := range 32 {
		all = append(all, vss.Attributes(1)<<i)
	}
	return all
}()
