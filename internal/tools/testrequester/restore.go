package testrequester

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// which describes the arguments that name a component.
const which = "WRITER|CLASS/INSTANCE database|filegroup PATH NAME"

// onComponent returns a call for one component, with further arguments.
func onComponent(
	name, args string, more int, f func(ctx context.Context, r *runner, c requester.Component, a []string) error,
) call {
	if args != "" {
		args = " " + args
	}
	return call{name, which + args, 4 + more, 4 + more, func(ctx context.Context, r *runner, a []string) (any, error) {
		c, err := r.component(ctx, a)
		if err != nil {
			return nil, err
		}
		return nil, f(ctx, r, c, a[4:])
	}, nil}
}

// withFlag returns a call for one component, with a bool.
func withFlag(name string, f func(*requester.BackupComponents, context.Context, requester.Component, bool) error) call {
	return onComponent(name, "true|false", 1, func(ctx context.Context, r *runner, c requester.Component,
		a []string) error {
		v, err := strconv.ParseBool(a[0])
		if err != nil {
			return invalid(err)
		}
		return f(r.b, ctx, c, v)
	})
}

// withText returns a call for one component, with a text.
func withText(
	name, what string, f func(*requester.BackupComponents, context.Context, requester.Component, string) error,
) call {
	return onComponent(name, what, 1, func(ctx context.Context, r *runner, c requester.Component, a []string) error {
		return f(r.b, ctx, c, a[0])
	})
}

// withFiles returns a call for one component, with a file set and an alternate path.
func withFiles(
	name string, f func(*requester.BackupComponents, context.Context, requester.Component, document.FileSet) error,
) call {
	return onComponent(name, "PATH FILESPEC true|false ALTERNATE-PATH", 4,
		func(ctx context.Context, r *runner, c requester.Component, a []string) error {
			recursive, err := strconv.ParseBool(a[2])
			if err != nil {
				return invalid(err)
			}
			files := document.FileSet{Path: a[0], FileSpec: a[1], Recursive: recursive, AlternatePath: a[3]}
			return f(r.b, ctx, c, files)
		})
}

// restore are the calls of a restore, and those for components.
var restore = []call{
	withText("SetBackupOptions", "OPTIONS", (*requester.BackupComponents).SetBackupOptions),
	withText("SetPreviousBackupStamp", "STAMP", (*requester.BackupComponents).SetPreviousBackupStamp),
	{"GetWriterComponents", "", 0, 0, func(ctx context.Context, r *runner, _ []string) (any, error) {
		return r.b.GetWriterComponents(ctx)
	}, nil},
	{"SaveWriterMetadata", "FOLDER", 1, 1, func(ctx context.Context, r *runner, a []string) (any, error) {
		all, err := r.b.GetWriterMetadata(ctx)
		if err != nil {
			return nil, err
		}
		for _, w := range all {
			if err := os.WriteFile(filepath.Join(a[0], w.Instance.Plain()+".xml"), w.XML, 0o600); err != nil {
				return nil, invalid(err)
			}
		}
		return nil, nil
	}, nil},
	{"InitializeForRestore", "DOCUMENT [METADATA]...", 1, -1, func(ctx context.Context, r *runner, a []string) (any,
		error) {
		docs := make([][]byte, len(a))
		for i, path := range a {
			var err error
			if docs[i], err = os.ReadFile(path); err != nil {
				return nil, invalid(err)
			}
		}
		return nil, r.b.InitializeForRestore(ctx, docs[0], docs[1:]...)
	}, nil},
	{"SetRestoreState", "undefined|by-copy|import|other|NUMBER", 1, 1,
		func(ctx context.Context, r *runner, a []string) (any, error) {
			t, err := numbered(a[0], vss.RestoreOther)
			if err != nil {
				return nil, err
			}
			return nil, r.b.SetRestoreState(ctx, t)
		}, nil},
	withFlag("SetSelectedForRestore", (*requester.BackupComponents).SetSelectedForRestore),
	onComponent("AddRestoreSubcomponent", "SUB-PATH SUB-NAME", 2,
		func(ctx context.Context, r *runner, c requester.Component, a []string) error {
			return r.b.AddRestoreSubcomponent(ctx, c, a[0], a[1])
		}),
	withText("SetRestoreOptions", "OPTIONS", (*requester.BackupComponents).SetRestoreOptions),
	withText("SetRestoreName", "NAME", (*requester.BackupComponents).SetRestoreName),
	withFlag("SetAdditionalRestores", (*requester.BackupComponents).SetAdditionalRestores),
	withFlag("SetAuthoritativeRestore", (*requester.BackupComponents).SetAuthoritativeRestore),
	withFiles("AddNewTarget", (*requester.BackupComponents).AddNewTarget),
	onComponent("SetRollForward", "undefined|none|all|partial|NUMBER POINT", 2,
		func(ctx context.Context, r *runner, c requester.Component, a []string) error {
			t, err := numbered(a[0], vss.RollForwardPartial)
			if err != nil {
				return err
			}
			return r.b.SetRollForward(ctx, c, t, a[1])
		}),
	{"PreRestore", "", 0, 0, nil, func(ctx context.Context, r *runner, _ []string) (*requester.Async, error) {
		return r.b.PreRestore(ctx)
	}},
	withFiles("AddAlternativeLocationMapping", (*requester.BackupComponents).AddAlternativeLocationMapping),
	onComponent("SetRangesFilePath", "PARTIAL-FILE PATH", 2, func(ctx context.Context, r *runner, c requester.Component,
		a []string) error {
		n, err := strconv.Atoi(a[0])
		if err != nil {
			return invalid(err)
		}
		return r.b.SetRangesFilePath(ctx, c, n, a[1])
	}),
	onComponent("SetFileRestoreStatus", "undefined|none|all|failed|NUMBER", 1,
		func(ctx context.Context, r *runner, c requester.Component, a []string) error {
			t, err := numbered(a[0], vss.RestoredFailed)
			if err != nil {
				return err
			}
			return r.b.SetFileRestoreStatus(ctx, c, t)
		}),
	{"PostRestore", "", 0, 0, nil, func(ctx context.Context, r *runner, _ []string) (*requester.Async, error) {
		return r.b.PostRestore(ctx)
	}},
}

// numbered parses a value of an enumeration, by name up to last, or by number, which may be invalid.
func numbered[T interface {
	~int32
	String() string
}](s string, last T) (T, error) {
	if n, err := strconv.ParseInt(s, 0, 32); err == nil {
		return T(n), nil
	}
	for t := T(0); t <= last; t++ {
		if t.String() == s {
			return t, nil
		}
	}
	return 0, invalid(fmt.Errorf("unknown value %q", s))
}
