// Package document reads and writes the two documents of the Volume Shadow Copy Service.
//
// WriterMetadata is what a writer says of itself at Identify: all its components, with their files. It never changes
// afterwards. Components is the Backup Components Document: what a requester chose, what writers noted about it and, for
// the copies, all that another host needs to import them. It holds no paths of files: a requester saves both.
//
// Both are XML with Microsoft's element names. What Microsoft's public samples don't show (the LUNs of a set above all) has
// names of our own in the same style. Elements and attributes that this program doesn't know survive loading and saving, and
// so do words for which no public sample shows the spelling; a document of another program may say in any form what its copies
// are. The rules over the documents are here too: which components may be added (CheckAdd, Missing) and restored
// (SelectForRestore, AddRestoreSubcomponent, RestoreSet), what a writer may say of itself (Validate), and which files a backup
// saves (BackupFiles, Walk).
//
// Whatever is read comes from outside: size, depth and count are bounded before anything is built, so that no input takes more
// than 100 MB; DTDs and entities are refused, and every failure to read is VSS_E_INVALID_XML_DOCUMENT. What is written keeps to
// the same bounds.
// Source: writer's reference, section 6; requester's reference, section 6.
package document
