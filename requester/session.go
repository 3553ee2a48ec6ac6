package requester

import (
	"context"
	"errors"
	"sync"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// releaseLimit is the maximum time that Close waits for the service to release the session's resources.
const releaseLimit = 5 * time.Minute

// BackupComponents is one requester object (IVssBackupComponents), for one backup or restore. Its methods may be called
// from multiple goroutines; while an Async runs, those that change the session fail with VSS_E_BAD_STATE.
type BackupComponents struct {
	c     vssv1.CoordinatorClient
	token string
	run   string // of the Client
	end   context.CancelFunc
	lost  chan struct{} // closed when the session has ended
	once  sync.Once
}

// Open creates a requester object. It lives until Close is called; ctx only applies to opening it. Program is the name
// of the calling program, for the service's log. Source: CreateVssBackupComponents. Errors: E_ACCESSDENIED.
func (c *Client) Open(ctx context.Context, program string) (*BackupComponents, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end) // until the token has arrived
	stream, err := c.coordinator.OpenSession(life, &vssv1.OpenSessionRequest{Program: program})
	if err != nil {
		end()
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		end()
		return nil, err
	}
	if !stop() {
		end()
		return nil, vss.E("OpenSession", vss.ErrUnexpected, ctx.Err())
	}
	if first.GetSession() == "" {
		end()
		return nil, vss.E("OpenSession", vss.ErrUnexpected, errors.New("the service sent no session token"))
	}
	b := &BackupComponents{c: c.coordinator, token: first.GetSession(), run: c.run, end: end, lost: make(chan struct{})}
	go func() {
		defer close(b.lost)
		for {
			if _, err := stream.Recv(); err != nil { // progress is reported by Async.Wait
				return
			}
		}
	}()
	return b, nil
}

// Lost returns a channel that is closed when the session has ended: the service stopped, or Close was called.
func (b *BackupComponents) Lost() <-chan struct{} { return b.lost }

// Close ends the session. It returns when the service has aborted an unfinished creation and deleted the copies of an
// auto-release context.
func (b *BackupComponents) Close() {
	b.once.Do(func() {
		b.end()
		ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
		defer cancel()
		// The service forgets the token last. Until then it answers that the session has no such operation.
		for {
			_, err := b.c.AsyncQueryStatus(ctx, &vssv1.AsyncRequest{Session: b.token})
			if !errors.Is(err, vss.ErrObjectNotFound) {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(startPause):
			}
		}
	})
}

func (b *BackupComponents) session() *vssv1.SessionRequest {
	return &vssv1.SessionRequest{Session: b.token}
}

// InitializeForBackup starts a backup, and must be called first. The document is nil or, for an import, the Backup
// Components Document that the creating host saved. Errors: VSS_E_INVALID_XML_DOCUMENT.
func (b *BackupComponents) InitializeForBackup(ctx context.Context, document []byte) error {
	_, err := b.c.InitializeForBackup(ctx, &vssv1.InitializeForBackupRequest{Session: b.token, Document: document})
	return err
}

// SetContext sets the context. It may be called once, after InitializeForBackup. Errors: E_INVALIDARG, VSS_E_BAD_STATE.
func (b *BackupComponents) SetContext(ctx context.Context, c vss.Context) error {
	_, err := b.c.SetContext(ctx, &vssv1.SetContextRequest{Session: b.token, Context: uint32(c)})
	return err
}

// SetBackupState sets the properties of the backup. Call it before PrepareForBackup.
func (b *BackupComponents) SetBackupState(ctx context.Context, selectComponents, bootableSystemState bool,
	t vss.BackupType, partialFiles bool) error {
	_, err := b.c.SetBackupState(ctx, &vssv1.SetBackupStateRequest{
		Session: b.token, SelectComponents: selectComponents, BootableSystemState: bootableSystemState,
		BackupType: int32(t), PartialFiles: partialFiles,
	})
	return err
}

func (b *BackupComponents) selection(ids []string) *vssv1.WriterSelection {
	return &vssv1.WriterSelection{Session: b.token, Ids: ids}
}

// EnableWriterClasses limits the writers that take part to the given classes, by id or name. It has no effect after
// GatherWriterMetadata.
func (b *BackupComponents) EnableWriterClasses(ctx context.Context, classes ...string) error {
	_, err := b.c.EnableWriterClasses(ctx, b.selection(classes))
	return err
}

// DisableWriterClasses excludes the given writer classes, by id or name. It has no effect after GatherWriterMetadata.
func (b *BackupComponents) DisableWriterClasses(ctx context.Context, classes ...string) error {
	_, err := b.c.DisableWriterClasses(ctx, b.selection(classes))
	return err
}

// DisableWriterInstances excludes the given writer instances. It has no effect after GatherWriterMetadata.
func (b *BackupComponents) DisableWriterInstances(ctx context.Context, instances ...vss.WriterInstanceID) error {
	ids := make([]string, len(instances))
	for i, id := range instances {
		ids[i] = id.String()
	}
	_, err := b.c.DisableWriterInstances(ctx, b.selection(ids))
	return err
}

// GatherWriterMetadata requests the metadata of every enabled writer. Errors: VSS_E_WRITER_INFRASTRUCTURE.
func (b *BackupComponents) GatherWriterMetadata(ctx context.Context) (*Async, error) {
	return b.async(b.c.GatherWriterMetadata(ctx, b.session()))
}

// GetWriterMetadata returns the metadata that GatherWriterMetadata gathered.
func (b *BackupComponents) GetWriterMetadata(ctx context.Context) ([]WriterMetadata, error) {
	r, err := b.c.GetWriterMetadata(ctx, b.session())
	if err != nil {
		return nil, err
	}
	return convert(r.GetWriters(), writerMetadata)
}

// GatherWriterStatus requests the status of every writer.
func (b *BackupComponents) GatherWriterStatus(ctx context.Context) (*Async, error) {
	return b.async(b.c.GatherWriterStatus(ctx, b.session()))
}

// GetWriterStatus returns the status of the writers that GatherWriterStatus gathered: whether one has failed is in its
// Failure. It includes what GetWriterStatusEx returns.
func (b *BackupComponents) GetWriterStatus(ctx context.Context) ([]WriterStatus, error) {
	r, err := b.c.GetWriterStatus(ctx, b.session())
	if err != nil {
		return nil, err
	}
	return convert(r.GetWriters(), writerStatus)
}

func (b *BackupComponents) component(c Component, succeeded bool) *vssv1.ComponentRequest {
	return &vssv1.ComponentRequest{
		Session: b.token, WriterId: c.Writer.String(), InstanceId: c.Instance.String(), Type: c.Type,
		LogicalPath: c.LogicalPath, Name: c.Name, Succeeded: succeeded,
	}
}

// AddComponent includes a component in a backup in component mode. Errors: VSS_E_OBJECT_ALREADY_EXISTS,
// VSS_E_OBJECT_NOT_FOUND.
func (b *BackupComponents) AddComponent(ctx context.Context, c Component) error {
	_, err := b.c.AddComponent(ctx, b.component(c, false))
	return err
}

// SetBackupOptions sets the backup options of a component, in a format defined by the writer. Call it before
// PrepareForBackup.
func (b *BackupComponents) SetBackupOptions(ctx context.Context, c Component, options string) error {
	_, err := b.c.SetBackupOptions(ctx, b.text(c, options))
	return err
}

// SetPreviousBackupStamp sets the backup stamp that the writer stored in the backup that this one is based on. Call it
// before PrepareForBackup, or PreRestore.
func (b *BackupComponents) SetPreviousBackupStamp(ctx context.Context, c Component, stamp string) error {
	_, err := b.c.SetPreviousBackupStamp(ctx, b.text(c, stamp))
	return err
}

// GetWriterComponents returns the components in the document, by writer, with the changes that the writers have made:
// call it again after PrepareForBackup, DoSnapshotSet and PreRestore. Its length is GetWriterComponentsCount.
func (b *BackupComponents) GetWriterComponents(ctx context.Context) ([]*document.WriterComponents, error) {
	r, err := b.c.GetWriterComponents(ctx, b.session())
	if err != nil {
		return nil, err
	}
	return convert(r.GetWriters(), document.ParseWriterComponents)
}

// GetSessionID returns the id by which events and writers refer to the session.
func (b *BackupComponents) GetSessionID(ctx context.Context) (id vss.SessionID, err error) {
	r, err := b.c.GetSessionId(ctx, b.session())
	if err == nil {
		id.GUID, err = guid(r.GetSessionId())
	}
	return id, err
}

// GetRootAndLogicalPrefixPaths returns the volume that contains path, by the name it has in sets, and the path within
// the volume. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_VOLUME_NOT_SUPPORTED.
func (b *BackupComponents) GetRootAndLogicalPrefixPaths(ctx context.Context, path string) (root, prefix string,
	err error) {
	r, err := b.c.GetRootAndLogicalPrefixPaths(ctx, &vssv1.PathRequest{Session: b.token, Path: path})
	return r.GetRoot(), r.GetLogicalPrefix(), err
}

// SetBackupSucceeded records whether the backup of a component succeeded. Call it between DoSnapshotSet and
// BackupComplete.
func (b *BackupComponents) SetBackupSucceeded(ctx context.Context, c Component, succeeded bool) error {
	_, err := b.c.SetBackupSucceeded(ctx, b.component(c, succeeded))
	return err
}

// PrepareForBackup notifies the writers of the backup. It fails in contexts without writers.
func (b *BackupComponents) PrepareForBackup(ctx context.Context) (*Async, error) {
	return b.async(b.c.PrepareForBackup(ctx, b.session()))
}

// BackupComplete notifies the writers that the backup is complete; they may then delete logs.
func (b *BackupComponents) BackupComplete(ctx context.Context) (*Async, error) {
	return b.async(b.c.BackupComplete(ctx, b.session()))
}

// AbortBackup aborts the creation or backup in progress. It returns nil if there is none.
func (b *BackupComponents) AbortBackup(ctx context.Context) error {
	_, err := b.c.AbortBackup(ctx, b.session())
	return err
}

// SaveAsXML returns the Backup Components Document. It contains all that another host needs for ImportSnapshots.
func (b *BackupComponents) SaveAsXML(ctx context.Context) ([]byte, error) {
	r, err := b.c.SaveAsXML(ctx, b.session())
	return r.GetXml(), err
}
