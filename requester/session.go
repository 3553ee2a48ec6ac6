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

// releaseLimit is how long Close waits for the service to release what the session had.
const releaseLimit = 5 * time.Minute

// BackupComponents is one requester object (IVssBackupComponents). It serves one backup and is closed then. Its methods may
// be called from many goroutines; while an Async runs, those that change the session are VSS_E_BAD_STATE.
type BackupComponents struct {
	c     vssv1.CoordinatorClient
	token string
	end   context.CancelFunc
	lost  chan struct{} // closed when the service ended the session, or Close did
	once  sync.Once
}

// Open makes a requester object. The context is for the opening only: the object lives until Close. Program is for the
// service's log. Source: CreateVssBackupComponents. Errors: E_ACCESSDENIED.
func (c *Client) Open(ctx context.Context, program string) (*BackupComponents, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end) // until the token is here
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
		return nil, vss.E("OpenSession", vss.ErrUnexpected, errors.New("the service gave no session"))
	}
	b := &BackupComponents{c: c.coordinator, token: first.GetSession(), end: end, lost: make(chan struct{})}
	go func() {
		defer close(b.lost)
		for {
			if _, err := stream.Recv(); err != nil { // progress comes through Async.Wait
				return
			}
		}
	}()
	return b, nil
}

// Lost is closed when the session has ended: the service went away, or Close was called.
func (b *BackupComponents) Lost() <-chan struct{} { return b.lost }

// Close releases the object and returns when the service has done its part: an unfinished creation is aborted and copies of
// an auto-release context are gone.
func (b *BackupComponents) Close() {
	b.once.Do(func() {
		b.end()
		ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
		defer cancel()
		// The service forgets the token last of all; until then it knows the session, but no operation of that name.
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

// InitializeForBackup is the first call. The document is nil, or for an import the one that the creating host saved.
// Errors: VSS_E_INVALID_XML_DOCUMENT.
func (b *BackupComponents) InitializeForBackup(ctx context.Context, document []byte) error {
	_, err := b.c.InitializeForBackup(ctx, &vssv1.InitializeForBackupRequest{Session: b.token, Document: document})
	return err
}

// SetContext chooses the context, once and early. Errors: E_INVALIDARG, VSS_E_BAD_STATE.
func (b *BackupComponents) SetContext(ctx context.Context, c vss.Context) error {
	_, err := b.c.SetContext(ctx, &vssv1.SetContextRequest{Session: b.token, Context: uint32(c)})
	return err
}

// SetBackupState is due before PrepareForBackup.
func (b *BackupComponents) SetBackupState(ctx context.Context, selectComponents, bootableSystemState bool, t vss.BackupType, partialFiles bool) error {
	_, err := b.c.SetBackupState(ctx, &vssv1.SetBackupStateRequest{
		Session: b.token, SelectComponents: selectComponents, BootableSystemState: bootableSystemState, BackupType: int32(t), PartialFiles: partialFiles,
	})
	return err
}

func (b *BackupComponents) selection(ids []string) *vssv1.WriterSelection {
	return &vssv1.WriterSelection{Session: b.token, Ids: ids}
}

// EnableWriterClasses lets only these classes take part: ids or names. Without effect after GatherWriterMetadata.
func (b *BackupComponents) EnableWriterClasses(ctx context.Context, classes ...string) error {
	_, err := b.c.EnableWriterClasses(ctx, b.selection(classes))
	return err
}

// DisableWriterClasses keeps these classes out: ids or names. Without effect after GatherWriterMetadata.
func (b *BackupComponents) DisableWriterClasses(ctx context.Context, classes ...string) error {
	_, err := b.c.DisableWriterClasses(ctx, b.selection(classes))
	return err
}

// DisableWriterInstances keeps single instances out. Without effect after GatherWriterMetadata.
func (b *BackupComponents) DisableWriterInstances(ctx context.Context, instances ...vss.WriterInstanceID) error {
	ids := make([]string, len(instances))
	for i, id := range instances {
		ids[i] = id.String()
	}
	_, err := b.c.DisableWriterInstances(ctx, b.selection(ids))
	return err
}

// GatherWriterMetadata asks every enabled writer who it is. Errors: VSS_E_WRITER_INFRASTRUCTURE.
func (b *BackupComponents) GatherWriterMetadata(ctx context.Context) (*Async, error) {
	return b.async(b.c.GatherWriterMetadata(ctx, b.session()))
}

// GetWriterMetadata is what GatherWriterMetadata brought.
func (b *BackupComponents) GetWriterMetadata(ctx context.Context) ([]WriterMetadata, error) {
	r, err := b.c.GetWriterMetadata(ctx, b.session())
	if err != nil {
		return nil, err
	}
	return convert(r.GetWriters(), writerMetadata)
}

// GatherWriterStatus asks every writer how it is.
func (b *BackupComponents) GatherWriterStatus(ctx context.Context) (*Async, error) {
	return b.async(b.c.GatherWriterStatus(ctx, b.session()))
}

// GetWriterStatus is what GatherWriterStatus brought: look at each one's Failure. It is GetWriterStatusEx, too.
func (b *BackupComponents) GetWriterStatus(ctx context.Context) ([]WriterStatus, error) {
	r, err := b.c.GetWriterStatus(ctx, b.session())
	if err != nil {
		return nil, err
	}
	return convert(r.GetWriters(), writerStatus)
}

func (b *BackupComponents) component(c Component, succeeded bool) *vssv1.ComponentRequest {
	return &vssv1.ComponentRequest{
		Session: b.token, WriterId: c.Writer.String(), InstanceId: c.Instance.String(), Type: c.Type, LogicalPath: c.LogicalPath, Name: c.Name, Succeeded: succeeded,
	}
}

// AddComponent includes a component, in component mode. Errors: VSS_E_OBJECT_ALREADY_EXISTS, VSS_E_OBJECT_NOT_FOUND.
func (b *BackupComponents) AddComponent(ctx context.Context, c Component) error {
	_, err := b.c.AddComponent(ctx, b.component(c, false))
	return err
}

// SetBackupOptions gives a writer a wish for one component, in the writer's own words. Before PrepareForBackup.
func (b *BackupComponents) SetBackupOptions(ctx context.Context, c Component, options string) error {
	_, err := b.c.SetBackupOptions(ctx, b.text(c, options))
	return err
}

// SetPreviousBackupStamp gives a writer the stamp that it left in the backup that this one builds on. Before
// PrepareForBackup, or PreRestore.
func (b *BackupComponents) SetPreviousBackupStamp(ctx context.Context, c Component, stamp string) error {
	_, err := b.c.SetPreviousBackupStamp(ctx, b.text(c, stamp))
	return err
}

// GetWriterComponents is what the document has of each writer's components, with what the writers changed in them: read it
// again after PrepareForBackup, DoSnapshotSet and PreRestore. Its length is GetWriterComponentsCount.
func (b *BackupComponents) GetWriterComponents(ctx context.Context) ([]*document.WriterComponents, error) {
	r, err := b.c.GetWriterComponents(ctx, b.session())
	if err != nil {
		return nil, err
	}
	return convert(r.GetWriters(), document.ParseWriterComponents)
}

// GetSessionID is what the session is called in events and by writers.
func (b *BackupComponents) GetSessionID(ctx context.Context) (id vss.SessionID, err error) {
	r, err := b.c.GetSessionId(ctx, b.session())
	if err == nil {
		id.GUID, err = guid(r.GetSessionId())
	}
	return id, err
}

// GetRootAndLogicalPrefixPaths says which volume a path lies on, by the name that sets give it, and where in it. Errors:
// VSS_E_OBJECT_NOT_FOUND, VSS_E_VOLUME_NOT_SUPPORTED.
func (b *BackupComponents) GetRootAndLogicalPrefixPaths(ctx context.Context, path string) (root, prefix string, err error) {
	r, err := b.c.GetRootAndLogicalPrefixPaths(ctx, &vssv1.PathRequest{Session: b.token, Path: path})
	return r.GetRoot(), r.GetLogicalPrefix(), err
}

// SetBackupSucceeded tells how the backup of an included component went; between DoSnapshotSet and BackupComplete.
func (b *BackupComponents) SetBackupSucceeded(ctx context.Context, c Component, succeeded bool) error {
	_, err := b.c.SetBackupSucceeded(ctx, b.component(c, succeeded))
	return err
}

// PrepareForBackup tells writers what is about to come. An error in contexts without writers.
func (b *BackupComponents) PrepareForBackup(ctx context.Context) (*Async, error) {
	return b.async(b.c.PrepareForBackup(ctx, b.session()))
}

// BackupComplete tells writers that the backup is safe; they may drop logs then.
func (b *BackupComponents) BackupComplete(ctx context.Context) (*Async, error) {
	return b.async(b.c.BackupComplete(ctx, b.session()))
}

// AbortBackup ends what is under way; nothing under way is no error.
func (b *BackupComponents) AbortBackup(ctx context.Context) error {
	_, err := b.c.AbortBackup(ctx, b.session())
	return err
}

// SaveAsXML is the Backup Components Document: all that another host needs for ImportSnapshots.
func (b *BackupComponents) SaveAsXML(ctx context.Context) ([]byte, error) {
	r, err := b.c.SaveAsXML(ctx, b.session())
	return r.GetXml(), err
}
