package document

import (
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// WriterMetadata is the Writer Metadata Document: a writer's identity and the files of its components. Hook writers
// print its JSON form in identify. Source: IVssCreateWriterMetadata, IVssExamineWriterMetadata.
type WriterMetadata struct {
	WriterID vss.WriterID `json:"writer_id,omitzero"`
	// assigned by the service; new at each start of the writer
	InstanceID   vss.WriterInstanceID `json:"instance_id,omitzero"`
	Name         string               `json:"name,omitempty"`
	InstanceName string               `json:"instance_name,omitempty"`
	Usage        vss.UsageType        `json:"usage,omitzero"`
	Source       vss.SourceType       `json:"source,omitzero"`
	Version      Version              `json:"version,omitzero"`
	BackupSchema vss.BackupSchema     `json:"backup_schema,omitempty"`
	// RestoreMethod is nil if the writer sets none. It should set one, but real documents lack it.
	RestoreMethod *RestoreMethod `json:"restore_method,omitempty"`
	Components    []WMComponent  `json:"components"`
	// ExcludeFiles are never backed up, even if a component includes them.
	ExcludeFiles []FileSet `json:"exclude_files,omitempty"`
	// ExcludeFilesFromSnapshot are files that the writer deletes in the copy. A path without a volume applies to every
	// volume.
	ExcludeFilesFromSnapshot []FileSet `json:"exclude_files_from_snapshot,omitempty"`
	Other                    Foreign   `json:"-"`
	OtherIdentification      Foreign   `json:"-"`
	OtherLocations           Foreign   `json:"-"`
}

// Version is the version of a writer. Major increases when older versions can't restore the data.
type Version struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
}

// RestoreMethod describes how the files are to be restored. Source: SetRestoreMethod, AddAlternateLocationMapping.
type RestoreMethod struct {
	Method         vss.RestoreMethod `json:"method"`
	Service        string            `json:"service,omitempty"` // to be stopped and started; only with methods 3 and 8
	UserProcedure  string            `json:"user_procedure,omitempty"`
	WriterRestore  vss.WriterRestore `json:"writer_restore"`
	RebootRequired bool              `json:"reboot_required,omitempty"`
	// AlternateLocations are alternative places for file sets; AlternatePath is the destination.
	AlternateLocations []FileSet `json:"alternate_locations,omitempty"`
	Other              Foreign   `json:"-"`
}

// FileSet is a set of files in a directory. Source: IVssWMFiledesc.
type FileSet struct {
	Path      string `json:"path"`
	FileSpec  string `json:"filespec"` // ? and * are wildcards
	Recursive bool   `json:"recursive,omitempty"`
	// AlternatePath is, in a component, the directory to read the files from instead; in a mapping, the one to restore
	// them to.
	AlternatePath string `json:"alternate_path,omitempty"`
	// Mask has the types of backup that include the set; 0 stands for vss.DefaultFileSpecBackupType.
	Mask  vss.FileSpecBackupType `json:"mask,omitempty"`
	Other Foreign                `json:"-"`
}

// WMComponent is a component in its writer's metadata. Its full name is writer class, logical path and name.
// Source: IVssWMComponent, AddComponent.
type WMComponent struct {
	Type                   vss.ComponentType  `json:"type"`
	LogicalPath            string             `json:"logical_path"` // elements separated by \; "" at the top level
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

// Dependency is a component of another writer without which a component is useless. Source: IVssWMDependency.
type Dependency struct {
	WriterID    vss.WriterID `json:"writer_id"`
	LogicalPath string       `json:"logical_path"` // \\host\... for a component on another host
	Name        string       `json:"name"`
	Other       Foreign      `json:"-"`
}

// BackupMask returns the set's mask, or the default.
func (f FileSet) BackupMask() vss.FileSpecBackupType {
	if f.Mask == 0 {
		return vss.DefaultFileSpecBackupType
	}
	return f.Mask
}

// FileSets returns all file sets of a component: files, database files, database log files.
func (c *WMComponent) FileSets() []FileSet {
	return slices.Concat(c.Files, c.DatabaseFiles, c.DatabaseLogFiles)
}

// Component returns a component by its logical path and name; nil if there is none.
func (m *WriterMetadata) Component(logicalPath, name string) *WMComponent {
	for i := range m.Components {
		if c := &m.Components[i]; c.LogicalPath == logicalPath && c.Name == name {
			return c
		}
	}
	return nil
}

// EffectiveType returns the type of backup that the writer makes if t is requested: a full backup if t isn't in its
// schema.
func (m *WriterMetadata) EffectiveType(t vss.BackupType) vss.BackupType {
	needs := map[vss.BackupType]vss.BackupSchema{
		vss.BackupIncremental: vss.SchemaIncremental, vss.BackupDifferential: vss.SchemaDifferential,
		vss.BackupLog: vss.SchemaLog, vss.BackupCopy: vss.SchemaCopy,
	}
	if bit, ok := needs[t]; !ok || m.BackupSchema&bit == 0 {
		return vss.BackupFull
	}
	return t
}
