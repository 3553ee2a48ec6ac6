package document

import "github.com/stillpoint-vss/stillpoint/vss"

// Words of the Writer Metadata Document, indexed by number.
var (
	usageWords  = []string{"UNDEFINED", "BOOTABLE_SYSTEM_STATE", "SYSTEM_SERVICE", "USER_DATA", "OTHER"}
	sourceWords = []string{"UNDEFINED", "TRANSACTION_DB", "NONTRANSACTION_DB", "OTHER"}
	methodWords = []string{
		"UNDEFINED", "RESTORE_IF_NONE_THERE", "RESTORE_IF_CAN_BE_REPLACED", "STOP_RESTART_SERVICE",
		"RESTORE_TO_ALTERNATE_LOCATION", "REPLACE_AT_REBOOT", "REPLACE_AT_REBOOT_IF_CANNOT_REPLACE", "CUSTOM",
		"RESTORE_STOP_START",
	}
	writerRestoreWords = []string{"undefined", "never", "if_replace_fails", "always"}
)

func (m *WriterMetadata) xml(c *codec) {
	number(c, "backupSchema", &m.BackupSchema, false)
	c.one("IDENTIFICATION", true, func(c *codec) {
		c.guid("writerId", &m.WriterID.GUID)
		c.guid("instanceId", &m.InstanceID.GUID)
		c.text("instanceName", &m.InstanceName)
		c.text("friendlyName", &m.Name)
		word(c, "usage", &m.Usage, usageWords)
		word(c, "dataSource", &m.Source, sourceWords)
		number(c, "majorVersion", &m.Version.Major, true)
		number(c, "minorVersion", &m.Version.Minor, true)
		c.rest(&m.OtherIdentification)
	})
	c.one("RESTORE_METHOD", m.RestoreMethod != nil, func(c *codec) {
		if !c.writing {
			m.RestoreMethod = &RestoreMethod{}
		}
		m.RestoreMethod.xml(c)
	})
	c.one("BACKUP_LOCATIONS", true, func(c *codec) {
		mixed(c, []string{"FILE_GROUP", "DATABASE"}, &m.Components, (*WMComponent).element, wmComponent)
		list(c, "EXCLUDE_FILES", &m.ExcludeFiles, plainFileSet)
		list(c, "EXCLUDE_FILES_FROM_SNAPSHOT", &m.ExcludeFilesFromSnapshot, plainFileSet)
		c.rest(&m.OtherLocations)
	})
	c.rest(&m.Other)
}

func (r *RestoreMethod) xml(c *codec) {
	word(c, "method", &r.Method, methodWords)
	c.text("service", &r.Service)
	c.text("userProcedure", &r.UserProcedure)
	word(c, "writerRestore", &r.WriterRestore, writerRestoreWords)
	c.yesNo("rebootRequired", &r.RebootRequired, true)
	list(c, "ALTERNATE_LOCATION_MAPPING", &r.AlternateLocations, plainFileSet)
	c.rest(&r.Other)
}

func (m *WMComponent) element() string {
	if m.Type == vss.ComponentDatabase {
		return "DATABASE"
	}
	return "FILE_GROUP"
}

func wmComponent(c *codec, element string, m *WMComponent) {
	m.Type = vss.ComponentFileGroup
	if element == "DATABASE" {
		m.Type = vss.ComponentDatabase
	}
	c.text("logicalPath", &m.LogicalPath)
	c.attr("componentName", &m.Name, true)
	c.text("caption", &m.Caption)
	c.hex("icon", &m.Icon)
	c.yesNo("restoreMetadata", &m.RestoreMetadata, true)
	c.yesNo("notifyOnBackupComplete", &m.NotifyOnBackupComplete, true)
	c.yesNo("selectable", &m.Selectable, true)
	c.yesNo("selectableForRestore", &m.SelectableForRestore, true)
	number(c, "componentFlags", &m.Flags, true)
	list(c, "FILE_LIST", &m.Files, groupFileSet)
	list(c, "DATABASE_FILES", &m.DatabaseFiles, databaseFileSet)
	list(c, "DATABASE_LOGFILES", &m.DatabaseLogFiles, databaseFileSet)
	list(c, "DEPENDENCY", &m.Dependencies, func(c *codec, d *Dependency) {
		c.guid("writerId", &d.WriterID.GUID)
		c.text("logicalPath", &d.LogicalPath)
		c.attr("componentName", &d.Name, true)
		c.rest(&d.Other)
	})
	c.rest(&m.Other)
}

// plainFileSet is a file set of an exclusion or a mapping.
func plainFileSet(c *codec, f *FileSet) {
	c.text("path", &f.Path)
	c.text("filespec", &f.FileSpec)
	c.yesNo("recursive", &f.Recursive, true)
	c.text("alternatePath", &f.AlternatePath)
	c.rest(&f.Other)
}

// groupFileSet is a file set of a file group; databaseFileSet one of a database, which has no recursion.
func groupFileSet(c *codec, f *FileSet) { maskedFileSet(c, f, true) }

func databaseFileSet(c *codec, f *FileSet) { maskedFileSet(c, f, false) }

// maskedFileSet is a file set of a component. The mask is always written, since other programs require it.
func maskedFileSet(c *codec, f *FileSet, recursion bool) {
	c.text("path", &f.Path)
	c.text("filespec", &f.FileSpec)
	c.yesNo("recursive", &f.Recursive, recursion)
	c.text("alternatePath", &f.AlternatePath)
	mask := f.BackupMask()
	if number(c, "filespecBackupType", &mask, true); !c.writing {
		f.Mask = mask
	}
	c.rest(&f.Other)
}
