package coordinator

import (
	"cmp"
	"time"
)

// WriterLimits are how long writers may take; 0 is the default. From Freeze to Thaw a writer has its own limit. Source:
// writer's reference, time limits (the figures are ours where the original publishes none).
type WriterLimits struct {
	Identify        time.Duration // default 60 s
	PrepareSnapshot time.Duration // default 10 min
	Work            time.Duration // PrepareForBackup, PostSnapshot, BackupComplete, PreRestore, PostRestore; default 15 min
}

const (
	identifyLimit        = 60 * time.Second
	statusLimit          = 10 * time.Second
	prepareSnapshotLimit = 10 * time.Minute
	workLimit            = 15 * time.Minute
	cleanUpLimit         = 60 * time.Second // Abort, BackupShutdown
	abortDeadLimit       = 15 * time.Second
	thawPatience         = 2 * time.Second // for the Thaw of one level before the next one's
)

func (l *WriterLimits) identify() time.Duration { return cmp.Or(l.Identify, identifyLimit) }

func (l *WriterLimits) prepareSnapshot(*participant) time.Duration {
	return cmp.Or(l.PrepareSnapshot, prepareSnapshotLimit)
}

func (l *WriterLimits) work(*participant) time.Duration { return cmp.Or(l.Work, workLimit) }

func (l *WriterLimits) cleanUp(p *participant) time.Duration { return min(l.work(p), cleanUpLimit) }

// window is for Freeze and Thaw, each: a writer that doesn't want to be frozen for longer can't take longer to thaw.
func (l *WriterLimits) window(p *participant) time.Duration { return p.window() }
