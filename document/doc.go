// Package document reads and writes the two documents of the Volume Shadow Copy Service.
//
// WriterMetadata is a writer's description of itself at Identify: its components with their files. It doesn't change
// afterwards. Components is the Backup Components Document: what a requester selected, what writers recorded about it
// and, for the copies, everything that another host needs to import them. It has no paths of files, so that a
// requester saves both documents.
//
// Both are XML with Microsoft's element names. Parts that Microsoft's public samples don't show, above all the LUNs of
// a set, have names of our own in the same style. Elements and attributes that this program doesn't know are
// preserved, and so are words for which no public sample shows the spelling; documents of other programs may describe
// copies in any form. The package also implements the rules for the documents: which components may be added
// (CheckAdd, Missing) and restored (SelectForRestore, AddRestoreSubcomponent, RestoreSet), and what a writer's
// metadata may contain (Validate).
//
// Documents are untrusted input: size, depth and count are limited before anything is built, so that no input takes
// more than 100 MB. DTDs and entities are errors, and every failure to read is VSS_E_INVALID_XML_DOCUMENT. Documents
// that are written obey the same limits.
// Source: writer's reference, section 6; requester's reference, section 6.
package document
