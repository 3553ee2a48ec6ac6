package document

import "github.com/stillpoint-vss/stillpoint/vss"

// Words of the Backup Components Document, indexed by number.
var (
	backupTypeWords    = []string{"undefined", "full", "incremental", "differential", "log", "copy", "other"}
	restoreTypeWords   = []string{"undefined", "by_copy", "import", "other"}
	componentWords     = []string{"undefined", "database", "filegroup"}
	rollForwardWords   = []string{"undefined", "none", "all", "partial"}
	restoreTargetWords = []string{"undefined", "original", "alternate", "directed", "original_location"}
	restoreStatusWords = []string{"undefined", "none", "all", "failed"}
	consistencyWords   = []string{"crash", "file-system", "application"}
)

func (d *Components) xml(c *codec) {
	c.yesNo("bootableSystemStateBackup", &d.BootableSystemState, true)
	c.yesNo("selectComponents", &d.SelectComponents, true)
	word(c, "backupType", &d.BackupType, backupTypeWords)
	c.yesNo("partialFileSupport", &d.PartialFileSupport, true)
	word(c, "restoreType", &d.RestoreType, restoreTypeWords)
	c.guid("snapshotSetId", &d.SnapshotSetID.GUID)
	pointers(c, "WRITER_COMPONENTS", &d.Writers, writerComponents)
	c.one("SNAPSHOT_SET_DESCRIPTION", d.SnapshotSet != nil, func(c *codec) {
		if !c.writing {
			d.SnapshotSet = &SnapshotSet{}
		}
		d.SnapshotSet.xml(c)
	})
	c.rest(&d.Other)
}

func writerComponents(c *codec, w *WriterComponents) {
	c.guid("instanceId", &w.InstanceID.GUID)
	c.guid("writerId", &w.WriterID.GUID)
	c.text("instanceName", &w.InstanceName)
	number(c, "backupSchema", &w.BackupSchema, true)
	pointers(c, "COMPONENT", &w.Components, component)
	c.rest(&w.Other)
}

func component(c *codec, k *Component) {
	c.text("logicalPath", &k.LogicalPath)
	c.attr("componentName", &k.Name, true)
	word(c, "componentType", &k.Type, componentWords)
	c.text("backupOptions", &k.BackupOptions)
	c.text("previousBackupStamp", &k.PreviousBackupStamp)
	c.text("backupStamp", &k.BackupStamp)
	c.yesNo("backupSucceeded", &k.BackupSucceeded, false)
	c.yesNo("selectedForRestore", &k.SelectedForRestore, false)
	c.yesNo("additionalRestores", &k.AdditionalRestores, false)
	c.text("restoreOptions", &k.RestoreOptions)
	c.text("restoreName", &k.RestoreName)
	c.yesNo("authoritativeRestore", &k.AuthoritativeRestore, false)
	word(c, "rollForward", &k.RollForward, rollForwardWords)
	c.text("rollForwardPoint", &k.RollForwardPoint)
	word(c, "restoreTarget", &k.RestoreTarget, restoreTargetWords)
	word(c, "fileRestoreStatus", &k.FileRestoreStatus, restoreStatusWords)
	c.text("prepareForBackupFailure", &k.PrepareForBackupFailure)
	c.text("postSnapshotFailure", &k.PostSnapshotFailure)
	c.text("preRestoreFailure", &k.PreRestoreFailure)
	c.text("postRestoreFailure", &k.PostRestoreFailure)
	c.one("FAILURE", k.Failure != nil, func(c *codec) {
		if !c.writing {
			k.Failure = &ComponentFailure{}
		}
		number(c, "code", &k.Failure.Code, true)
		number(c, "application", &k.Failure.Application, false)
		c.text("message", &k.Failure.Message)
	})
	c.one("BACKUP_METADATA", k.BackupMetadata != "", func(c *codec) { c.metadata(&k.BackupMetadata) })
	c.one("RESTORE_METADATA", k.RestoreMetadata != "", func(c *codec) { c.metadata(&k.RestoreMetadata) })
	componentFiles(c, k)
	c.rest(&k.Other)
}

// componentFiles are the lists of files of a component.
func componentFiles(c *codec, k *Component) {
	list(c, "PARTIAL_FILE", &k.PartialFiles, func(c *codec, p *PartialFile) {
		c.text("path", &p.Path)
		c.text("filespec", &p.FileName)
		c.text("ranges", &p.Ranges)
		c.text("metadata", &p.Metadata)
		c.rest(&p.Other)
	})
	list(c, "DIFFERENCED_FILES", &k.DifferencedFiles, func(c *codec, d *DifferencedFiles) {
		c.text("path", &d.Path)
		c.text("filespec", &d.FileSpec)
		c.yesNo("recursive", &d.Recursive, true)
		number(c, "lastModifyTime", &d.Since, false)
		c.rest(&d.Other)
	})
	list(c, "NEW_TARGET", &k.NewTargets, plainFileSet)
	list(c, "ALTERNATE_LOCATION_MAPPING", &k.AlternateLocations, plainFileSet)
	list(c, "DIRECTED_TARGET", &k.DirectedTargets, func(c *codec, t *DirectedTarget) {
		c.text("sourcePath", &t.SourcePath)
		c.text("sourceFilespec", &t.SourceFileName)
		c.text("sourceRanges", &t.SourceRanges)
		c.text("destinationPath", &t.DestinationPath)
		c.text("destinationFilespec", &t.DestinationName)
		c.text("destinationRanges", &t.DestinationRanges)
		c.rest(&t.Other)
	})
	list(c, "RESTORE_SUBCOMPONENT", &k.RestoreSubcomponents, func(c *codec, s *RestoreSubcomponent) {
		c.text("logicalPath", &s.LogicalPath)
		c.attr("componentName", &s.Name, true)
		c.rest(&s.Other)
	})
}

// metadata is outside the namespace in real documents.
func (c *codec) metadata(p *string) {
	if c.writing {
		c.n.name.Space = ""
	}
	c.text("metadata", p)
}

// xml is lenient with documents of other programs: of Microsoft's form of this part only some names are known.
func (s *SnapshotSet) xml(c *codec) {
	c.lenient = c.alien
	c.key("snapshotSetId", &s.ID.GUID)
	number(c, "context", &s.Context, true)
	pointers(c, "SNAPSHOT_DESCRIPTION", &s.Snapshots, snapshot)
	c.rest(&s.Other)
}

func snapshot(c *codec, s *Snapshot) {
	c.key("snapshotId", &s.ID.GUID)
	c.key("snapshotSetId", &s.SetID.GUID)
	number(c, "snapshotsCount", &s.Count, true)
	c.guid("providerId", &s.ProviderID.GUID)
	c.text("providerName", &s.ProviderName)
	c.text("originalVolume", &s.OriginalVolume)
	c.text("fileSystem", &s.FileSystem)
	c.text("fileSystemUuid", &s.FileSystemUUID)
	c.text("label", &s.Label)
	c.text("subvolume", &s.Subvolume)
	c.text("subvolumeId", &s.SubvolumeID)
	c.yesNo("noExec", &s.NoExec, false)
	c.text("originatingMachine", &s.OriginatingMachine)
	c.text("serviceMachine", &s.ServiceMachine)
	number(c, "snapshotAttributes", &s.Attributes, true)
	c.time("creationTimestamp", &s.Created)
	word(c, "consistency", &s.Consistency, consistencyWords)
	list(c, "LUN_MAPPING", &s.LUNs, lunMapping)
	list(c, "EXTENT", &s.Extents, func(c *codec, e *vss.Extent) {
		number(c, "lun", &e.LUN, true)
		number(c, "start", &e.Start, true)
		number(c, "length", &e.Length, true)
	})
	c.rest(&s.Other)
}

func lunMapping(c *codec, m *LUNMapping) {
	number(c, "diskFlags", &m.Flags, false)
	c.one("SOURCE_LUN", true, func(c *codec) {
		c.one("LUN_INFORMATION", true, func(c *codec) { lunInformation(c, &m.Source) })
		c.one("DISK_IDENTITY", !m.Identity.empty(), func(c *codec) {
			c.text("style", &m.Identity.Style)
			c.guid("diskId", &m.Identity.Disk)
			list(c, "PARTITION", &m.Identity.Partitions, func(c *codec, p *PartitionIdentity) {
				number(c, "number", &p.Number, true)
				c.guid("partitionId", &p.ID)
			})
		})
	})
	c.one("DESTINATION_LUN", true, func(c *codec) {
		c.one("LUN_INFORMATION", true, func(c *codec) { lunInformation(c, &m.Destination) })
	})
	c.rest(&m.Other)
}

func lunInformation(c *codec, l *vss.LUNInformation) {
	number(c, "version", &l.Version, true)
	number(c, "deviceType", &l.DeviceType, true)
	number(c, "deviceTypeModifier", &l.DeviceTypeModifier, false)
	c.yesNo("commandQueueing", &l.CommandQueueing, true)
	number(c, "busType", &l.BusType, true)
	c.text("vendorId", &l.VendorID)
	c.text("productId", &l.ProductID)
	c.text("productRevision", &l.ProductRevision)
	c.text("serialNumber", &l.SerialNumber)
	c.guid("diskSignature", &l.DiskSignature)
	list(c, "STORAGE_IDENTIFIER", &l.DeviceIDs, func(c *codec, s *vss.StorageIdentifier) {
		number(c, "codeSet", &s.CodeSet, true)
		number(c, "type", &s.Type, true)
		c.hex("identifier", &s.ID)
	})
	list(c, "INTERCONNECT", &l.Interconnects, func(c *codec, i *vss.Interconnect) {
		number(c, "addressType", &i.Type, true)
		c.hex("port", &i.Port)
		c.hex("address", &i.Address)
	})
}
