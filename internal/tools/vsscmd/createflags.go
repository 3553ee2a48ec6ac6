package vsscmd

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// createFlags are those that create and exec share.
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
	l.StringVar(&f.context, "context", "", "what the copies are for: backup, file-share-backup, nas-rollback, app-rollback, client-accessible or client-accessible-writers (default "+context+")")
	l.BoolVar(&f.differential, "differential", false, "copies share unchanged blocks with the originals")
	l.BoolVar(&f.plex, "plex", false, "copies are full copies in the end")
	l.BoolVar(&f.transportable, "transportable", false, "the set is for import by another host and isn't shown here")
	l.BoolVar(&f.noAutoRecovery, "no-autorecovery", false, "copies are read-only from the start, writers don't clean them up")
	l.BoolVar(&f.rollbackRecovery, "rollback-recovery", false, "writers recover the copies for use, not for backup")
	l.StringVar(&f.provider, "provider", "", "id or name of the provider to use")
	l.BoolVar(&f.noWriters, "no-writers", false, "don't involve applications")
	l.StringArrayVar(&f.include, "writer-include", nil, "only this writer, by id or name; may be repeated")
	l.StringArrayVar(&f.exclude, "writer-exclude", nil, "not this writer, by id or name; may be repeated")
	l.StringVar(&f.require, "require", "", "fail and delete the set if it is less consistent: application or file-system")
	l.DurationVar(&f.wait, "wait", 0, "wait so long for another creation to end (10m); default: fail at once")
	l.StringVar(&f.document, "bc", "", "write the Backup Components Document to this file")
	l.DurationVar(&f.holdLimit, "hold-limit", 0, "longest time to hold writes, at most 10s")
}

// withoutWriters is the twin of each context that doesn't involve writers.
var withoutWriters = map[vss.Context]vss.Context{
	vss.ContextBackup:                  vss.ContextFileShareBackup,
	vss.ContextAppRollback:             vss.ContextNASRollback,
	vss.ContextClientAccessibleWriters: vss.ContextClientAccessible,
}

// options makes of flags what the service is asked for.
func (f *createFlags) options(cmd *cobra.Command, volumes []string, fallback vss.Context) (requester.Options, error) {
	o := requester.Options{
		Program: cmd.CommandPath(), Context: fallback, Volumes: volumes, Provider: f.provider, WriterInclude: f.include, WriterExclude: f.exclude,
		Wait: f.wait, HoldLimit: f.holdLimit,
	}
	if f.context != "" {
		c, err := vss.ContextByName(f.context)
		if err != nil {
			return o, usage(vss.Hint(err), "%q is no context", f.context)
		}
		o.Context = c
	}
	if twin, ok := withoutWriters[o.Context]; ok && f.noWriters {
		o.Context = twin
	}
	if o.Context.Has(vss.AttrNoWriters) && len(f.include)+len(f.exclude) > 0 {
		return o, usage("leave --writer-include and --writer-exclude away, or choose a context with writers", "no writers are involved")
	}
	o.BackupType = vss.BackupCopy // a set to keep isn't a backup: writers keep their logs
	if o.Context == vss.ContextBackup {
		o.BackupType = vss.BackupFull
	}
	for _, b := range []struct {
		on  bool
		bit vss.Attributes
	}{
		{f.differential, vss.AttrDifferential}, {f.plex, vss.AttrPlex}, {f.transportable, vss.AttrTransportable},
		{f.noAutoRecovery, vss.AttrNoAutoRecovery}, {f.rollbackRecovery, vss.AttrRollbackRecovery},
	} {
		if b.on {
			o.Context |= b.bit
		}
	}
	if err := vss.CheckContext(o.Context); err != nil {
		return o, usage(vss.Hint(err), "the flags don't go together")
	}
	switch f.require {
	case "":
	case "application", "file-system":
		o.Require, _ = vss.ConsistencyByName(f.require)
	default:
		return o, usage("require application or file-system", "%q is no consistency to require", f.require)
	}
	if o.Require == vss.ConsistencyApplication && o.Context.Has(vss.AttrNoWriters) {
		return o, usage("require file-system, or choose a context with writers", "without writers no copy is application consistent")
	}
	if f.wait < 0 {
		return o, usage("write it as 10m", "can't wait %v", f.wait)
	}
	if cmd.Flags().Changed("hold-limit") && f.holdLimit <= 0 { // to the service 0 is its own limit
		return o, vss.E("DoSnapshotSet", vss.ErrInvalidArg, nil).On("--hold-limit " + f.holdLimit.String()).Advise("0 < hold limit <= 10s")
	}
	return o, nil
}

// split takes VOLUME... and CMD apart, which stands behind --.
func split(cmd *cobra.Command, args []string) (volumes, command []string, err error) {
	volumes = args
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		volumes, command = args[:n], args[n:]
		if len(command) == 0 {
			return nil, nil, usage("write the command after --", "a command is missing")
		}
	}
	if len(volumes) == 0 {
		return nil, nil, usage("name volumes by mount point, device, UUID= or LABEL=", "a volume is missing")
	}
	return volumes, command, nil
}
