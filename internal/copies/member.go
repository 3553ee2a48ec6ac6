package copies

import (
	"context"
	"errors"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// sequence is what a member of every kind has: the calls for a set that all providers know.
type sequence struct {
	*base
	set     vss.SnapshotSetID
	context vss.Context
}

// endPrepare calls EndPrepareSnapshots.
func (s *sequence) endPrepare(ctx context.Context, progress func(percent float64)) error {
	return s.do(provider.WithReport(ctx, progress), callEndPrepare, s.set, func(ctx context.Context) error {
		return s.provider.EndPrepareSnapshots(ctx, s.set)
	})
}

// PreCommit implements Member.
func (s *sequence) PreCommit(ctx context.Context) error {
	return s.do(ctx, callPreCommit, s.set, func(ctx context.Context) error {
		return s.provider.PreCommitSnapshots(ctx, s.set)
	})
}

// Commit implements Member.
func (s *sequence) Commit(ctx context.Context) error {
	return s.do(ctx, callCommit, s.set, func(ctx context.Context) error {
		return s.provider.CommitSnapshots(ctx, s.set)
	})
}

// PostCommit implements Member.
func (s *sequence) PostCommit(ctx context.Context, count int) error {
	return s.do(ctx, callPostCommit, s.set, func(ctx context.Context) error {
		return s.provider.PostCommitSnapshots(ctx, s.set, count)
	})
}

// PreFinalCommit implements Member.
func (s *sequence) PreFinalCommit(ctx context.Context) error {
	return s.do(ctx, callPreFinalCommit, s.set, func(ctx context.Context) error {
		return s.provider.PreFinalCommitSnapshots(ctx, s.set)
	})
}

// PostFinalCommit implements Member.
func (s *sequence) PostFinalCommit(ctx context.Context) error {
	return s.do(ctx, callPostFinalCommit, s.set, func(ctx context.Context) error {
		return s.provider.PostFinalCommitSnapshots(ctx, s.set)
	})
}

// Abort implements Member.
func (s *sequence) Abort(ctx context.Context) error { return s.abort(ctx, s.set) }

// abort makes a provider delete what it has of a set; an unknown set isn't an error.
func (b *base) abort(ctx context.Context, set vss.SnapshotSetID) error {
	err := b.plain(ctx, callAbort, func(ctx context.Context) error { return b.provider.AbortSnapshots(ctx, set) })
	if errors.Is(err, vss.ErrObjectNotFound) {
		return nil
	}
	return err
}

// errNotBegun is the error for a record of a copy that a member didn't begin.
func errNotBegun(id vss.SnapshotID) error {
	return vss.E("CollectSnapshots", vss.ErrUnexpected, errors.New("the copy is of another provider")).On(id.String())
}
