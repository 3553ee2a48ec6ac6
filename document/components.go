package document

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Components is the Backup Components Document. Source: IVssBackupComponents, SaveAsXML.
type Components struct {
	SelectComponents    bool // component mode
	BootableSystemState bool
	BackupType          vss.BackupType
	PartialFileSupport  bool
	RestoreType         vss.RestoreType
	SnapshotSetID       vss.SnapshotSetID
	Writers             []*WriterComponents // in undefined order
	SnapshotSet         *SnapshotSet        // nil before the copies exist
	Other               Foreign
}

// WriterComponents are the explicitly included components of one writer instance. Source: IVssWriterComponents.
type WriterComponents struct {
	WriterID     vss.WriterID         `json:"writer_id"`
	InstanceID   vss.WriterInstanceID `json:"instance_id"`
	InstanceName string               `json:"instance_name,omitempty"`
	BackupSchema vss.BackupSchema     `json:"backup_schema,omitempty"`
	Components   []*Component         `json:"components"`
	Other        Foreign              `json:"-"`
}

// Component is one explicitly included component; its properties apply to its component set. Source: IVssComponent.
type Component struct {
	Type        vss.ComponentType `json:"type"`
	LogicalPath string            `json:"logical_path"`
	Name        string            `json:"name"`

	BackupOptions       string `json:"backup_options,omitempty"`        // requester
	PreviousBackupStamp string `json:"previous_backup_stamp,omitempty"` // requester
	BackupStamp         string `json:"backup_stamp,omitempty"`          // writer; never interpreted
	BackupMetadata      string `json:"backup_metadata,omitempty"`       // writer; see SetBackupMetadata
	// requester: all files of the set were saved
	BackupSucceeded  bool               `json:"backup_succeeded,omitempty"`
	PartialFiles     []PartialFile      `json:"partial_files,omitempty"`
	DifferencedFiles []DifferencedFiles `json:"differenced_files,omitempty"`
	Failure          *ComponentFailure  `json:"failure,omitempty"`

	SelectedForRestore bool `json:"selected_for_restore,omitempty"`
	// more restores follow: don't recover yet
	AdditionalRestores   bool                  `json:"additional_restores,omitempty"`
	RestoreOptions       string                `json:"restore_options,omitempty"`
	RestoreName          string                `json:"restore_name,omitempty"`
	AuthoritativeRestore bool                  `json:"authoritative_restore,omitempty"`
	RollForward          vss.RollForwardType   `json:"roll_forward,omitzero"`
	RollForwardPoint     string                `json:"roll_forward_point,omitempty"`
	RestoreTarget        vss.RestoreTarget     `json:"restore_target,omitzero"`      // writer
	RestoreMetadata      string                `json:"restore_metadata,omitempty"`   // writer; see SetRestoreMetadata
	FileRestoreStatus    vss.FileRestoreStatus `json:"file_restore_status,omitzero"` // requester
	RestoreSubcomponents []RestoreSubcomponent `json:"restore_subcomponents,omitempty"`
	// AlternatePath is the destination
	NewTargets         []FileSet        `json:"new_targets,omitempty"`
	AlternateLocations []FileSet        `json:"alternate_locations,omitempty"` // mappings that were used
	DirectedTargets    []DirectedTarget `json:"directed_targets,omitempty"`

	PrepareForBackupFailure string  `json:"prepare_for_backup_failure,omitempty"`
	PostSnapshotFailure     string  `json:"post_snapshot_failure,omitempty"`
	PreRestoreFailure       string  `json:"pre_restore_failure,omitempty"`
	PostRestoreFailure      string  `json:"post_restore_failure,omitempty"`
	Other                   Foreign `json:"-"`
}

// ComponentFailure is a writer's failure for one component. Source: IVssComponentEx2::SetFailure.
type ComponentFailure struct {
	Code        vss.Code `json:"code"`
	Application uint32   `json:"application,omitempty"`
	Message     string   `json:"message,omitempty"`
}

// PartialFile is a file of which only some ranges are saved. Source: AddPartialFile.
type PartialFile struct {
	Path     string `json:"path"`
	FileName string `json:"filename"`
	// "offset:length, ...", decimal or 0x hex, or "File=" and the path of a file with the ranges
	Ranges   string  `json:"ranges"`
	Metadata string  `json:"metadata,omitempty"`
	Other    Foreign `json:"-"`
}

// DifferencedFiles are files to be saved if they were modified after a time. Source:
// AddDifferencedFilesByLastModifyTime.
type DifferencedFiles struct {
	Path      string  `json:"path"`
	FileSpec  string  `json:"filespec"`
	Recursive bool    `json:"recursive,omitempty"`
	Since     uint64  `json:"since"` // FILETIME, see FileTime; 0: the requester decides
	Other     Foreign `json:"-"`
}

// RestoreSubcomponent is an implicit component that is restored by itself. Source: AddRestoreSubcomponent.
type RestoreSubcomponent struct {
	LogicalPath string  `json:"logical_path"`
	Name        string  `json:"name"`
	Other       Foreign `json:"-"`
}

// DirectedTarget restores ranges of one file to ranges of another. Source: AddDirectedTarget.
type DirectedTarget struct {
	SourcePath        string  `json:"source_path"`
	SourceFileName    string  `json:"source_filename"`
	SourceRanges      string  `json:"source_ranges"`
	DestinationPath   string  `json:"destination_path"`
	DestinationName   string  `json:"destination_filename"`
	DestinationRanges string  `json:"destination_ranges"`
	Other             Foreign `json:"-"`
}

// Writer returns the components of one writer instance; nil if there are none.
func (c *Components) Writer(class vss.WriterID, instance vss.WriterInstanceID) *WriterComponents {
	for _, w := range c.Writers {
		if w.WriterID == class && w.InstanceID == instance {
			return w
		}
	}
	return nil
}

// Component returns a component by its logical path and name; nil if there is none.
func (w *WriterComponents) Component(logicalPath, name string) *Component {
	for _, c := range w.Components {
		if c.LogicalPath == logicalPath && c.Name == name {
			return c
		}
	}
	return nil
}

// SetBackupMetadata sets what the writer requires at a restore. Errors: VSS_E_OBJECT_ALREADY_EXISTS if it is set
// already.
func (c *Component) SetBackupMetadata(text string) error {
	return setOnce("SetBackupMetadata", c, &c.BackupMetadata, text)
}

// SetRestoreMetadata sets what the writer passes from PreRestore to PostRestore. Errors: VSS_E_OBJECT_ALREADY_EXISTS
// if it is set already.
func (c *Component) SetRestoreMetadata(text string) error {
	return setOnce("SetRestoreMetadata", c, &c.RestoreMetadata, text)
}

func setOnce(op string, c *Component, field *string, text string) error {
	if *field != "" {
		return vss.E(op, vss.ErrObjectAlreadyExists, errors.New("already set")).On(c.LogicalPath + `\` + c.Name)
	}
	*field = text
	return nil
}

// Clone returns a copy that shares nothing that may be modified.
func (w *WriterComponents) Clone() *WriterComponents {
	if w == nil {
		return nil
	}
	n := *w
	n.Components = nil
	for _, c := range w.Components {
		k := *c
		k.PartialFiles = slices.Clone(c.PartialFiles)
		k.DifferencedFiles = slices.Clone(c.DifferencedFiles)
		k.RestoreSubcomponents = slices.Clone(c.RestoreSubcomponents)
		k.NewTargets = slices.Clone(c.NewTargets)
		k.AlternateLocations = slices.Clone(c.AlternateLocations)
		k.DirectedTargets = slices.Clone(c.DirectedTargets)
		if c.Failure != nil {
			f := *c.Failure
			k.Failure = &f
		}
		n.Components = append(n.Components, &k)
	}
	return &n
}

// RangesFile returns the path of the file that holds the ranges, and false if Ranges has them itself.
func (p PartialFile) RangesFile() (string, bool) {
	file, ok := strings.CutPrefix(p.Ranges, "File=")
	return file, ok || strings.HasPrefix(file, "/")
}

// FileTime returns t as a FILETIME: 100 ns since 1601, UTC. Earlier times are 0.
func FileTime(t time.Time) uint64 {
	const unixEpoch = 11644473600 // seconds from 1601 to 1970
	seconds := t.Unix() + unixEpoch
	if seconds < 0 {
		return 0
	}
	return uint64(seconds)*10_000_000 + uint64(t.Nanosecond()/100)
}
