package requester

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	retryPause = 250 * time.Millisecond // between attempts to start a set while another one is being created
	abortLimit = time.Minute            // for AbortBackup after a failure
)

// Options are the parameters of Create.
type Options struct {
	Program       string          // name of the calling program, for the service's log
	Context       vss.Context     // with the attribute bits that a requester may add
	Volumes       []string        // mount points, devices, UUID= or LABEL=
	Provider      string          // id or name; "": the service chooses
	WriterInclude []string        // ids or names: only these writer classes take part
	WriterExclude []string        // ids or names: these writer classes do not take part
	BackupType    vss.BackupType  // in contexts with writers
	Require       vss.Consistency // if the set is less consistent, it is deleted and Create fails
	// RequireWriters makes Create fail in the same way if the set is less than application consistent because a writer
	// failed.
	RequireWriters bool
	Wait           time.Duration // maximum time to wait for another creation; 0 does not wait
	HoldLimit      time.Duration // maximum time to hold writes, at most 10 s; 0: the limit of the service
	// Choose, if not nil, selects component mode. It is called with the metadata of the writers and adds the components
	// to back up, with their options and stamps. If Choose is nil, all enabled writers take part with all of their
	// data.
	Choose func(context.Context, *BackupComponents, []WriterMetadata) error
}

// Created is a set that Create made. The caller must close Session, and with it the copies of an auto-release context
// are deleted.
type Created struct {
	Session  *BackupComponents
	Set      SnapshotSet
	Document []byte           // Backup Components Document
	Metadata []WriterMetadata // of the writers that take part, if Options.Choose was set
}

// Create opens a session and creates a set in it: it gathers the writers, adds the volumes, prepares, makes the copies
// and gathers the status of the writers. If a step fails, the set is aborted. Progress may be nil. Errors: those of the
// methods; if the set is less consistent than Require, the code of the writer that failed, or
// VSS_E_WRITERERROR_NONRETRYABLE.
func (c *Client) Create(ctx context.Context, o Options, progress Progress) (*Created, error) {
	if progress == nil {
		progress = func(string, float64) {}
	}
	b, err := c.Open(ctx, o.Program)
	if err != nil {
		return nil, err
	}
	made, err := c.create(ctx, b, &o, progress)
	if err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortLimit)
		defer cancel()
		_ = b.AbortBackup(stop) // closing the session would abort as well
		b.Close()
		return nil, err
	}
	return made, nil
}

func (c *Client) create(ctx context.Context, b *BackupComponents, o *Options, progress Progress) (*Created, error) {
	if err := b.InitializeForBackup(ctx, nil); err != nil {
		return nil, err
	}
	if err := b.SetContext(ctx, o.Context); err != nil {
		return nil, err
	}
	writers := !o.Context.Has(vss.AttrNoWriters)
	var metadata []WriterMetadata
	if writers {
		var err error
		if metadata, err = b.gather(ctx, o, progress); err != nil {
			return nil, err
		}
	}
	set, err := b.startWithin(ctx, o.Wait, progress)
	if err != nil {
		return nil, err
	}
	for i, v := range o.Volumes {
		progress("AddToSnapshotSet "+v, 100*float64(i)/float64(len(o.Volumes)))
		if _, err := b.AddToSnapshotSet(ctx, v, o.Provider); err != nil {
			return nil, err
		}
	}
	if writers {
		a, err := b.PrepareForBackup(ctx)
		if _, err := wait(ctx, progress, a, err); err != nil {
			return nil, err
		}
	}
	a, err := b.DoSnapshotSet(ctx, o.HoldLimit)
	if _, err := wait(ctx, progress, a, err); err != nil {
		return nil, err
	}
	made, err := c.describe(ctx, b, set, writers)
	if err == nil {
		err = made.require(o.required(&made.Set))
	}
	if err != nil {
		// The caller would not learn of the copies, which in a persistent context outlive the session.
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortLimit)
		defer cancel()
		_, _, derr := b.DeleteSnapshots(stop, set.GUID, vss.ObjectSnapshotSet, true)
		if derr != nil {
			err = vss.E("Create", vss.CodeOf(err),
				errors.Join(err, fmt.Errorf("the set could not be deleted: %w", derr))).
				On(set.String()).Advise("delete it with `vss delete " + set.String() + "`")
		}
		return nil, err
	}
	made.Metadata = metadata
	return made, nil
}

// gather selects the writers, gathers their metadata and calls Choose.
func (b *BackupComponents) gather(ctx context.Context, o *Options, progress Progress) ([]WriterMetadata, error) {
	if len(o.WriterInclude) > 0 {
		if err := b.EnableWriterClasses(ctx, o.WriterInclude...); err != nil {
			return nil, err
		}
	}
	if len(o.WriterExclude) > 0 {
		if err := b.DisableWriterClasses(ctx, o.WriterExclude...); err != nil {
			return nil, err
		}
	}
	a, err := b.GatherWriterMetadata(ctx)
	if _, err := wait(ctx, progress, a, err); err != nil {
		return nil, err
	}
	t := o.BackupType
	if t == vss.BackupUndefined {
		t = vss.BackupFull
	}
	if err := b.SetBackupState(ctx, o.Choose != nil, false, t, false); err != nil || o.Choose == nil {
		return nil, err
	}
	all, err := b.GetWriterMetadata(ctx)
	if err != nil {
		return nil, err
	}
	return all, o.Choose(ctx, b, all)
}

// startWithin starts the set. While another one is being created it tries again until limit has passed.
func (b *BackupComponents) startWithin(
	ctx context.Context, limit time.Duration, progress Progress,
) (vss.SnapshotSetID, error) {
	end := time.Now().Add(limit)
	for {
		id, err := b.StartSnapshotSet(ctx)
		if !errors.Is(err, vss.ErrSnapshotSetInProgress) || !time.Now().Before(end) {
			return id, err
		}
		progress("waiting for another creation", 0)
		select {
		case <-ctx.Done():
			return id, vss.E("StartSnapshotSet", vss.ErrSnapshotSetInProgress, ctx.Err())
		case <-time.After(min(retryPause, time.Until(end))):
		}
	}
}

func (c *Client) describe(
	ctx context.Context, b *BackupComponents, id vss.SnapshotSetID, writers bool,
) (*Created, error) {
	made := &Created{Session: b}
	var status []WriterStatus
	if writers {
		a, err := b.GatherWriterStatus(ctx)
		if _, err := wait(ctx, nil, a, err); err != nil {
			return nil, err
		}
		if status, err = b.GetWriterStatus(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	if made.Set, err = c.GetSnapshotSet(ctx, id); err != nil {
		return nil, err
	}
	if len(made.Set.Writers) == 0 {
		made.Set.Writers = status
	}
	made.Document, err = b.SaveAsXML(ctx)
	return made, err
}

// required returns how consistent a set must be.
func (o *Options) required(s *SnapshotSet) vss.Consistency {
	failed := func(w WriterStatus) bool {
		return w.Failure.Failed() && strings.Contains(s.ConsistencyReason, "writer "+w.Name)
	}
	if o.RequireWriters && slices.ContainsFunc(s.Writers, failed) {
		return vss.ConsistencyApplication
	}
	return o.Require
}

// require returns an error if the set is less consistent than least.
func (m *Created) require(least vss.Consistency) error {
	if least == vss.ConsistencyCrash {
		return nil
	}
	got, err := vss.ConsistencyByName(m.Set.Consistency)
	if err != nil || got >= least {
		return err
	}
	why := []string{}
	if m.Set.ConsistencyReason != "" {
		why = append(why, m.Set.ConsistencyReason)
	}
	code := vss.ErrWriterErrorNonRetryable
	for _, w := range m.Set.Writers {
		if w.Failure.Failed() {
			code = w.Failure
			text := fmt.Sprintf("writer %s is %v, %s: %s", w.Name, w.State, w.Failure.Name(), w.Message)
			why = append(why, strings.TrimRight(text, ": "))
		}
	}
	cause := fmt.Errorf("the set is %v consistent, %v was required: %s", got, least, strings.Join(why, "; "))
	return vss.E("Create", code, cause).On(m.Set.ID.String()).
		Advise("the set was deleted; correct the writer's fault, exclude it with --writer-exclude, or require less")
}

// Finish ends a successful backup: the writers receive BackupComplete and then complete their session. In a context
// without writers it does nothing.
func (m *Created) Finish(ctx context.Context) error {
	if m.Set.Context.Has(vss.AttrNoWriters) {
		return nil
	}
	a, err := m.Session.BackupComplete(ctx)
	if _, err := wait(ctx, nil, a, err); err != nil {
		return err
	}
	a, err = m.Session.GatherWriterStatus(ctx)
	_, err = wait(ctx, nil, a, err)
	return err
}
