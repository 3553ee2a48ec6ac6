package writerset

import (
	"cmp"
	"time"
)

// Limits are the longest times that writers may take; 0 is the default. From Freeze to Thaw each writer has its own
// limit. Source: writer's reference, time limits (the figures are ours where the original publishes none).
type Limits struct {
	Identify        time.Duration // default 60 s
	PrepareSnapshot time.Duration // default 10 min
	Work            time.Duration // all others, but Abort and BackupShutdown: at most a minute; default 15 min
}

const (
	identifyLimit        = 60 * time.Second
	statusLimit          = 10 * time.Second
	prepareSnapshotLimit = 10 * time.Minute
	workLimit            = 15 * time.Minute
	cleanUpLimit         = 60 * time.Second // Abort, BackupShutdown
	abortDroppedLimit    = 15 * time.Second
	thawPatience         = 2 * time.Second       // how long the Thaw of one level delays that of the next
	lateLimit            = 50 * time.Millisecond // how long an answer may be late and still be read
)

func (l *Limits) identify() time.Duration { return cmp.Or(l.Identify, identifyLimit) }

func (l *Limits) prepareSnapshot(*participant) time.Duration {
	return cmp.Or(l.PrepareSnapshot, prepareSnapshotLimit)
}

func (l *Limits) work(*participant) time.Duration { return cmp.Or(l.Work, workLimit) }

func (l *Limits) cleanUp(p *participant) time.Duration { return min(l.work(p), cleanUpLimit) }

// window is the limit of Freeze and of Thaw: a writer that accepts no longer freeze must not take longer to thaw.
func (l *Limits) window(p *participant) time.Duration { return p.window() }
