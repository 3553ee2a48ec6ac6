package requester

import (
	"context"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// A restore is InitializeForRestore, GatherWriterMetadata, the methods that choose what comes back, PreRestore, the files,
// SetFileRestoreStatus, PostRestore. In all of them a component is named by its writer's class, type, logical path and name;
// its Instance counts for nothing. Without a better word their errors are VSS_E_BAD_STATE out of order and
// VSS_E_OBJECT_NOT_FOUND for a component that the backup doesn't have or whose writer doesn't run.

// InitializeForRestore is the first call: with the Backup Components Document that the backup saved, and the Writer Metadata
// Documents that it saved beside it; what is asked for is checked against these. Errors: VSS_E_INVALID_XML_DOCUMENT.
func (b *BackupComponents) InitializeForRestore(ctx context.Context, doc []byte, metadata ...[]byte) error {
	_, err := b.c.InitializeForRestore(ctx, &vssv1.InitializeForRestoreRequest{Session: b.token, Document: doc, Metadata: metadata})
	return err
}

// SetRestoreState names the kind of restore; by copy without it.
func (b *BackupComponents) SetRestoreState(ctx context.Context, t vss.RestoreType) error {
	_, err := b.c.SetRestoreState(ctx, &vssv1.SetRestoreStateRequest{Session: b.token, RestoreType: int32(t)})
	return err
}

func name(c Component) *vssv1.ComponentName {
	return &vssv1.ComponentName{WriterId: c.Writer.String(), Type: c.Type, LogicalPath: c.LogicalPath, Name: c.Name}
}

func (b *BackupComponents) text(c Component, text string) *vssv1.ComponentTextRequest {
	return &vssv1.ComponentTextRequest{Session: b.token, Component: name(c), Text: text}
}

func (b *BackupComponents) flag(c Component, value bool) *vssv1.ComponentFlagRequest {
	return &vssv1.ComponentFlagRequest{Session: b.token, Component: name(c), Value: value}
}

func (b *BackupComponents) files(c Component, f document.FileSet) *vssv1.ComponentFilesRequest {
	return &vssv1.ComponentFilesRequest{Session: b.token, Component: name(c), Path: f.Path, Filespec: f.FileSpec, Recursive: f.Recursive, AlternatePath: f.AlternatePath}
}

// SetSelectedForRestore selects a component that was included explicitly, or takes that back. Of an implicit one its nearest
// explicit ancestor is selected, and then AddRestoreSubcomponent called.
func (b *BackupComponents) SetSelectedForRestore(ctx context.Context, c Component, selected bool) error {
	return b.SetSelectedForRestoreEx(ctx, c, selected, vss.WriterInstanceID{})
}

// SetSelectedForRestoreEx also moves the component to another instance of its writer's class; the zero instance leaves the
// choice to the service. E_INVALIDARG where the writer doesn't support that.
func (b *BackupComponents) SetSelectedForRestoreEx(ctx context.Context, c Component, selected bool, instance vss.WriterInstanceID) error {
	r := &vssv1.SelectRequest{Session: b.token, Component: name(c), Select: selected}
	if !instance.IsZero() {
		r.InstanceId = instance.String()
	}
	_, err := b.c.SetSelectedForRestoreEx(ctx, r)
	return err
}

// AddRestoreSubcomponent narrows the restore of a selected component to a member of its set. Errors: E_INVALIDARG for one
// that isn't selectable for restore, VSS_E_OBJECT_ALREADY_EXISTS.
func (b *BackupComponents) AddRestoreSubcomponent(ctx context.Context, c Component, subPath, subName string) error {
	_, err := b.c.AddRestoreSubcomponent(ctx, &vssv1.SubcomponentRequest{Session: b.token, Component: name(c), SubPath: subPath, SubName: subName})
	return err
}

// SetRestoreOptions gives a writer a wish for one component, in the writer's own words.
func (b *BackupComponents) SetRestoreOptions(ctx context.Context, c Component, options string) error {
	_, err := b.c.SetRestoreOptions(ctx, b.text(c, options))
	return err
}

// SetAdditionalRestores says whether more restores follow: until the last one the writer doesn't recover its data.
func (b *BackupComponents) SetAdditionalRestores(ctx context.Context, c Component, more bool) error {
	_, err := b.c.SetAdditionalRestores(ctx, b.flag(c, more))
	return err
}

// AddNewTarget says that the files of a set, named as in the writer's metadata, go to its AlternatePath. E_INVALIDARG where the
// writer doesn't support that.
func (b *BackupComponents) AddNewTarget(ctx context.Context, c Component, f document.FileSet) error {
	_, err := b.c.AddNewTarget(ctx, b.files(c, f))
	return err
}

// SetAuthoritativeRestore says that the restored data win over those of replicas. E_INVALIDARG where the writer doesn't
// support that.
func (b *BackupComponents) SetAuthoritativeRestore(ctx context.Context, c Component, authoritative bool) error {
	_, err := b.c.SetAuthoritativeRestore(ctx, b.flag(c, authoritative))
	return err
}

// SetRollForward says how far to roll forward; the point is the writer's text. E_INVALIDARG where the writer doesn't support
// that.
func (b *BackupComponents) SetRollForward(ctx context.Context, c Component, t vss.RollForwardType, point string) error {
	_, err := b.c.SetRollForward(ctx, &vssv1.RollForwardRequest{Session: b.token, Component: name(c), Type: int32(t), Point: point})
	return err
}

// SetRestoreName restores the component under another logical name. E_INVALIDARG where the writer doesn't support that.
func (b *BackupComponents) SetRestoreName(ctx context.Context, c Component, newName string) error {
	_, err := b.c.SetRestoreName(ctx, b.text(c, newName))
	return err
}

// PreRestore has the writers of the selected components get ready. Then their status tells who failed, and
// GetWriterComponents where each component is to go.
func (b *BackupComponents) PreRestore(ctx context.Context) (*Async, error) {
	return b.async(b.c.PreRestore(ctx, b.session()))
}

// AddAlternativeLocationMapping tells the writer that the files of a set went to a mapping of its metadata. Before PostRestore.
func (b *BackupComponents) AddAlternativeLocationMapping(ctx context.Context, c Component, f document.FileSet) error {
	_, err := b.c.AddAlternativeLocationMapping(ctx, b.files(c, f))
	return err
}

// SetRangesFilePath says where the ranges file of a partial file, counted from 0, was restored to. Before PostRestore.
func (b *BackupComponents) SetRangesFilePath(ctx context.Context, c Component, partial int, path string) error {
	_, err := b.c.SetRangesFilePath(ctx, &vssv1.RangesFileRequest{Session: b.token, Component: name(c), PartialFile: int32(partial), Path: path})
	return err
}

// SetFileRestoreStatus tells what became of a component's files. Between PreRestore and PostRestore.
func (b *BackupComponents) SetFileRestoreStatus(ctx context.Context, c Component, status vss.FileRestoreStatus) error {
	_, err := b.c.SetFileRestoreStatus(ctx, &vssv1.FileRestoreStatusRequest{Session: b.token, Component: name(c), Status: int32(status)})
	return err
}

// PostRestore tells the same writers what became of their files: they start what they stopped. It goes on when ctx ends.
func (b *BackupComponents) PostRestore(ctx context.Context) (*Async, error) {
	return b.async(b.c.PostRestore(ctx, b.session()))
}
