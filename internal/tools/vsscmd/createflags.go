package vsscmd

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// createFlags are the flags of create, exec and backup.
type createFlags struct {
	context                          string
	differential, plex               bool
	transportable, noWriters         bool
	noAutoRecovery, rollbackRecovery bool
	provider, require, document      string
	include, exclude                 []string
	wait, holdLimit                  time.Duration
}

func (f *createFlags) add(cmd *cobra.Command, context string) {
	l := cmd.Flags()
	l.StringVar(&f.context, "context", "",
		"`NAME` of the purpose of the copies: backup, file-share-backup, nas-rollback, app-rollback, "+
			"client-accessible or client-accessible-writers (default "+context+")")
	l.BoolVar(&f.differential, "differential", false, "make copies that share unchanged blocks with the originals")
	l.BoolVar(&f.plex, "plex", false, "make full copies, completed in the background")
	l.BoolVar(&f.transportable, "transportable", false,
		"make a set for import on another host, not available on this one")
	l.BoolVar(&f.noAutoRecovery, "no-autorecovery", false, "make copies read-only at once; writers do not recover them")
	l.BoolVar(&f.rollbackRecovery, "rollback-recovery", false, "let writers recover the copies for use, not for backup")
	l.StringVar(&f.provider, "provider", "", "use this provider, by `ID|NAME`")
	l.BoolVar(&f.noWriters, "no-writers", false, "do not notify writers")
	l.StringArrayVar(&f.include, "writer-include", nil, "notify only this writer, by `ID|NAME`; may be repeated")
	l.StringArrayVar(&f.exclude, "writer-exclude", nil, "do not notify this writer, by `ID|NAME`; may be repeated")
	l.StringVar(&f.require, "require", "",
		"minimum `CONSISTENCY`, application, file-system or none: fail and delete the set if it is less")
	l.DurationVar(&f.wait, "wait", 0, "maximum `TIME` to wait for another creation, such as 10m (default: do not wait)")
	l.StringVar(&f.document, "bc", "", "write the Backup Components Document to `FILE`")
	l.DurationVar(&f.holdLimit, "hold-limit", 0, "maximum `TIME` to hold writes, at most 10s")
}

// withoutWriters maps each context with writers to the corresponding one without.
var withoutWriters = map[vss.Context]vss.Context{
	vss.ContextBackup:                  vss.ContextFileShareBackup,
	vss.ContextAppRollback:             vss.ContextNASRollback,
	vss.ContextClientAccessibleWriters: vss.ContextClientAccessible,
}

// options returns the options of the set that the flags describe. Errors: *cli.UsageError; E_INVALIDARG for the hold
// limit.
func (f *createFlags) options(cmd *cobra.Command, volumes []string, fallback vss.Context) (requester.Options, error) {
	o := requester.Options{
		Program: cmd.CommandPath(), Volumes: volumes, Provider: f.provider, WriterInclude: f.include,
		WriterExclude: f.exclude, Wait: f.wait, HoldLimit: f.holdLimit,
	}
	var err error
	if o.Context, err = f.contextBits(fallback); err != nil {
		return o, err
	}
	o.BackupType = vss.BackupCopy // a persistent set isn't a backup: writers keep their logs
	if o.Context.BaseContext() == vss.ContextBackup {
		o.BackupType = vss.BackupFull
	}
	switch f.require {
	case "", "none":
	case "application", "file-system":
		o.Require, _ = vss.ConsistencyByName(f.require)
	default:
		return o, cli.Usagef("choose application, file-system or none", "invalid consistency %q", f.require)
	}
	if o.Require == vss.ConsistencyApplication && o.Context.Has(vss.AttrNoWriters) {
		return o, cli.Usagef("require file-system, or choose a context with writers",
			"without writers a set can't be application consistent")
	}
	if f.wait < 0 {
		return o, cli.Usagef("write it as 10m", "invalid time to wait %v", f.wait)
	}
	if cmd.Flags().Changed("hold-limit") && f.holdLimit <= 0 { // 0 would stand for the limit of the service
		return o, vss.E("DoSnapshotSet", vss.ErrInvalidArg, nil).On("--hold-limit " + f.holdLimit.String()).
			Advise("0 < hold limit <= 10s")
	}
	return o, nil
}

// contextBits returns the context with the attribute bits that the flags select.
func (f *createFlags) contextBits(fallback vss.Context) (vss.Context, error) {
	context := fallback
	if f.context != "" {
		var err error
		if context, err = vss.ContextByName(f.context); err != nil {
			return 0, cli.Usagef(vss.Hint(err), "unknown context %q", f.context)
		}
	}
	if other, ok := withoutWriters[context]; ok && f.noWriters {
		context = other
	}
	if context.Has(vss.AttrNoWriters) && len(f.include)+len(f.exclude) > 0 {
		return 0, cli.Usagef("remove --writer-include and --writer-exclude, or choose a context with writers",
			"the context has no writers")
	}
	for _, b := range []struct {
		on  bool
		bit vss.Attributes
	}{
		{f.differential, vss.AttrDifferential}, {f.plex, vss.AttrPlex}, {f.transportable, vss.AttrTransportable},
		{f.noAutoRecovery, vss.AttrNoAutoRecovery}, {f.rollbackRecovery, vss.AttrRollbackRecovery},
	} {
		if b.on {
			context |= b.bit
		}
	}
	if err := vss.CheckContext(context); err != nil {
		return 0, cli.Usagef(vss.Hint(err), "invalid combination of flags")
	}
	return context, nil
}
