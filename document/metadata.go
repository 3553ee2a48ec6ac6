package document

import (
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// WriterMetadata is the Writer Metadata Document: who a writer is and what it keeps where. Its JSON form is what a hook
// writer's identify prints. Source: IVssCreateWriterMetadata, IVssExamineWriterMetadata.
type WriterMetadata struct {
	WriterID     vss.WriterID         `json:"writer_id,omitzero"`
	InstanceID   vss.WriterInstanceID `json:"instance_id,omitzero"` // given by the service; new at every start of the writer
	Name         string               `json:"name,omitempty"`
	InstanceName string               `json:"instance_name,omitempty"`
	Usage        vss.UsageType        `json:"usage,omitzero"`
	Source       vss.SourceType       `json:"source,omitzero"`
	Version      Version              `json:"version,omitzero"`
	BackupSchema vss.BackupSchema     `json:"backup_schema,omitempty"`
	// RestoreMethod is nil where a writer names none. A well-behaved one does; real documents break the rule.
	RestoreMethod *RestoreMethod `json:"restore_method,omitempty"`
	Components    []WMComponent  `json:"components"`
	// ExcludeFiles are never backed up, whatever a component includes.
	ExcludeFiles []FileSet `json:"exclude_files,omitempty"`
	// ExcludeFilesFromSnapshot are what the writer itself will delete in the copy. A path without a volume means every volume.
	ExcludeFilesFromSnapshot []FileSet `json:"exclude_files_from_snapshot,omitempty"`
	Other                    Foreign   `json:"-"`
	OtherIdentification      Foreign   `json:"-"`
	OtherLocations           Foreign   `json:"-"`
}

// Version is a writer's version. Major grows when older versions can't restore the data.
type Version struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
}

// RestoreMethod is how a writer wants its files restored. Source: SetRestoreMethod, AddAlternateLocationMapping.
type RestoreMethod struct {
	Method         vss.RestoreMethod `json:"method"`
	Service        string            `json:"service,omitempty"` // to stop and start; methods 3 and 8 only
	UserProcedure  string            `json:"user_procedure,omitempty"`
	WriterRestore  vss.WriterRestore `json:"writer_restore"`
	RebootRequired bool              `json:"reboot_required,omitempty"`
	// AlternateLocations tell where file sets may be restored to; AlternatePath is the destination.
	AlternateLocations []FileSet `json:"alternate_locations,omitempty"`
	Other              Foreign   `json:"-"`
}

// FileSet is a path and which of its files are meant. Source: IVssWMFiledesc.
type FileSet struct {
	Path      string `json:"path"`
	FileSpec  string `json:"filespec"` // ? and * stand for characters
	Recursive bool   `json:"recursive,omitempty"`
	// AlternatePath is, in a component, where to read the files from instead; in a mapping, where to restore them to.
	AlternatePath string `json:"alternate_path,omitempty"`
	// Mask says for which kinds of backup the set is due; 0 stands for vss.DefaultFileSpecBackupType.
	Mask  vss.FileSpecBackupType `json:"mask,omitempty"`
	Other Foreign                `json:"-"`
}

// WMComponent is a component as its writer describes it. Its full name is writer class, logical path and name.
// Source: IVssWMComponent, AddComponent.
type WMComponent struct {
	Type                   vss.ComponentType  `json:"type"`
	LogicalPath            string             `json:"logical_path"` // elements separated by \; "" at the top
	Name                   string             `json:"name"`         // without \
	Caption                string             `json:"caption,omitempty"`
	Icon                   []byte             `json:"icon,omitempty"`
	RestoreMetadata        bool               `json:"restore_metadata,omitempty"`
	NotifyOnBackupComplete bool               `json:"notify_on_backup_complete,omitempty"`
	Selectable             bool               `json:"selectable"`
	SelectableForRestore   bool               `json:"selectable_for_restore,omitempty"`
	Flags                  vss.ComponentFlags `json:"flags,omitempty"`
	Files                  []FileSet          `json:"files,omitempty"`              // of a file group
	DatabaseFiles          []FileSet          `json:"database_files,omitempty"`     // of a database
	DatabaseLogFiles       []FileSet          `json:"database_log_files,omitempty"` // of a database
	Dependencies           []Dependency       `json:"dependencies,omitempty"`
	Other                  Foreign            `json:"-"`
}

// Dependency says that a component is only of use together with another writer's. Source: IVssWMDependency.
type Dependency struct {
	WriterID    vss.WriterID `json:"writer_id"`
	LogicalPath string       `json:"logical_path"` // \\host\... for a component on another host
	Name        string       `json:"name"`
	Other       Foreign      `json:"-"`
}

// BackupMask is the set's mask with the default filled in.
func (f FileSet) BackupMask() vss.FileSpecBackupType {
	if f.Mask == 0 {
		return vss.DefaultFileSpecBackupType
	}
	return f.Mask
}

// FileSets are all of a component's file sets: files, database files, database log files.
func (c *WMComponent) FileSets() []FileSet {
	return slices.Concat(c.Files, c.DatabaseFiles, c.DatabaseLogFiles)
}

// Component finds a component by its logical path and name; nil if there is none.
func (m *WriterMetadata) Component(logicalPath, name string) *WMComponent {
	for i := range m.Components {
		if c := &m.Components[i]; c.LogicalPath == logicalPath && c.Name == name {
			return c
		}
	}
	return nil
}
