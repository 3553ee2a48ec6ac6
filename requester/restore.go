package requester

import (
	"context"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// A restore calls InitializeForRestore, GatherWriterMetadata, the methods that select what is restored, and PreRestore;
// then it restores the files and calls SetFileRestoreStatus and PostRestore. In all of these a component is identified
// by its writer class, type, logical path and name; its Instance is ignored. Unless stated otherwise they fail with
// VSS_E_BAD_STATE if called out of order, and with VSS_E_OBJECT_NOT_FOUND if the component isn't in the backup or its
// writer isn't running.

// InitializeForRestore starts a restore. It takes the Backup Components Document and the Writer Metadata Documents that
// were saved with the backup; later calls are checked against them. Errors: VSS_E_INVALID_XML_DOCUMENT.
func (b *BackupComponents) InitializeForRestore(ctx context.Context, doc []byte, metadata ...[]byte) error {
	_, err := b.c.InitializeForRestore(ctx, &vssv1.InitializeForRestoreRequest{Session: b.token, Document: doc,
		Metadata: metadata})
	return err
}

// SetRestoreState sets the kind of restore. The default is a restore by copy.
func (b *BackupComponents) SetRestoreState(ctx context.Context, t vss.RestoreType) error {
	_, err := b.c.SetRestoreState(ctx, &vssv1.SetRestoreStateRequest{Session: b.token, RestoreType: int32(t)})
	return err
}

func name(c Component) *vssv1.ComponentName {
	n := &vssv1.ComponentName{WriterId: c.Writer.String(), Type: c.Type, LogicalPath: c.LogicalPath, Name: c.Name}
	if !c.Instance.IsZero() {
		n.InstanceId = c.Instance.String()
	}
	return n
}

func (b *BackupComponents) text(c Component, text string) *vssv1.ComponentTextRequest {
	return &vssv1.ComponentTextRequest{Session: b.token, Component: name(c), Text: text}
}

func (b *BackupComponents) flag(c Component, value bool) *vssv1.ComponentFlagRequest {
	return &vssv1.ComponentFlagRequest{Session: b.token, Component: name(c), Value: value}
}

func (b *BackupComponents) files(c Component, f document.FileSet) *vssv1.ComponentFilesRequest {
	return &vssv1.ComponentFilesRequest{Session: b.token, Component: name(c), Path: f.Path, Filespec: f.FileSpec,
		Recursive: f.Recursive, AlternatePath: f.AlternatePath}
}

// SetSelectedForRestore selects or deselects a component that was included explicitly. To restore one that was included
// implicitly, select its nearest explicit ancestor and call AddRestoreSubcomponent.
func (b *BackupComponents) SetSelectedForRestore(ctx context.Context, c Component, selected bool) error {
	return b.SetSelectedForRestoreEx(ctx, c, selected, vss.WriterInstanceID{})
}

// SetSelectedForRestoreEx is SetSelectedForRestore for a given instance of the writer's class, which may be another one
// than that of the backup; for the zero instance the service chooses one. Errors: E_INVALIDARG if the writer doesn't
// support that.
func (b *BackupComponents) SetSelectedForRestoreEx(ctx context.Context, c Component, selected bool,
	instance vss.WriterInstanceID) error {
	r := &vssv1.SelectRequest{Session: b.token, Component: name(c), Select: selected}
	if !instance.IsZero() {
		r.InstanceId = instance.String()
	}
	_, err := b.c.SetSelectedForRestoreEx(ctx, r)
	return err
}

// AddRestoreSubcomponent restricts the restore of a selected component to the given member of its component set.
// Errors: E_INVALIDARG if that isn't selectable for restore, VSS_E_OBJECT_ALREADY_EXISTS.
func (b *BackupComponents) AddRestoreSubcomponent(ctx context.Context, c Component, subPath, subName string) error {
	_, err := b.c.AddRestoreSubcomponent(ctx, &vssv1.SubcomponentRequest{Session: b.token, Component: name(c),
		SubPath: subPath, SubName: subName})
	return err
}

// SetRestoreOptions sets the restore options of a component. Their format is defined by the writer.
func (b *BackupComponents) SetRestoreOptions(ctx context.Context, c Component, options string) error {
	_, err := b.c.SetRestoreOptions(ctx, b.text(c, options))
	return err
}

// SetAdditionalRestores sets whether further restores of the component follow. Before the last one the writer doesn't
// recover its data.
func (b *BackupComponents) SetAdditionalRestores(ctx context.Context, c Component, more bool) error {
	_, err := b.c.SetAdditionalRestores(ctx, b.flag(c, more))
	return err
}

// AddNewTarget sets that the files of f, a file set of the writer's metadata, are restored to f.AlternatePath. Errors:
// E_INVALIDARG if the writer doesn't support that.
func (b *BackupComponents) AddNewTarget(ctx context.Context, c Component, f document.FileSet) error {
	_, err := b.c.AddNewTarget(ctx, b.files(c, f))
	return err
}

// SetAuthoritativeRestore sets whether the restored data take precedence over those of replicas. Errors: E_INVALIDARG
// if the writer doesn't support that.
func (b *BackupComponents) SetAuthoritativeRestore(ctx context.Context, c Component, authoritative bool) error {
	_, err := b.c.SetAuthoritativeRestore(ctx, b.flag(c, authoritative))
	return err
}

// SetRollForward sets how far the writer rolls forward after the restore. The format of point is defined by the writer.
// Errors: E_INVALIDARG if the writer doesn't support that.
func (b *BackupComponents) SetRollForward(ctx context.Context, c Component, t vss.RollForwardType, point string) error {
	_, err := b.c.SetRollForward(ctx, &vssv1.RollForwardRequest{Session: b.token, Component: name(c), Type: int32(t),
		Point: point})
	return err
}

// SetRestoreName restores the component under another logical name. Errors: E_INVALIDARG if the writer doesn't support
// that.
func (b *BackupComponents) SetRestoreName(ctx context.Context, c Component, newName string) error {
	_, err := b.c.SetRestoreName(ctx, b.text(c, newName))
	return err
}

// PreRestore notifies the writers of the selected components. After it, GetWriterStatus returns which writers failed,
// and GetWriterComponents where each component is to be restored.
func (b *BackupComponents) PreRestore(ctx context.Context) (*Async, error) {
	return b.async(b.c.PreRestore(ctx, b.session()))
}

// AddAlternativeLocationMapping records that the files of f were restored to an alternate location that the writer's
// metadata name. Call it before PostRestore.
func (b *BackupComponents) AddAlternativeLocationMapping(ctx context.Context, c Component, f document.FileSet) error {
	_, err := b.c.AddAlternativeLocationMapping(ctx, b.files(c, f))
	return err
}

// SetRangesFilePath records where the ranges file of a partial file, counted from 0, was restored. Call it before
// PostRestore.
func (b *BackupComponents) SetRangesFilePath(ctx context.Context, c Component, partial int, path string) error {
	_, err := b.c.SetRangesFilePath(ctx, &vssv1.RangesFileRequest{Session: b.token, Component: name(c),
		PartialFile: int32(partial), Path: path})
	return err
}

// SetFileRestoreStatus records whether the files of a component were restored. Call it between PreRestore and
// PostRestore.
func (b *BackupComponents) SetFileRestoreStatus(ctx context.Context, c Component, status vss.FileRestoreStatus) error {
	_, err := b.c.SetFileRestoreStatus(ctx, &vssv1.FileRestoreStatusRequest{Session: b.token, Component: name(c),
		Status: int32(status)})
	return err
}

// PostRestore notifies the same writers of the result; they start what they stopped. The operation continues if ctx is
// done.
func (b *BackupComponents) PostRestore(ctx context.Context) (*Async, error) {
	return b.async(b.c.PostRestore(ctx, b.session()))
}
