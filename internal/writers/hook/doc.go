// Package hook makes writers of executables: whoever can write a shell script can make an application consistent.
//
// A hook writer is a folder with writer.toml and executables named after events: identify, prepare-backup, prepare-snapshot,
// freeze, thaw, post-snapshot, abort, backup-complete, backup-shutdown, pre-restore, post-restore. A missing one is skipped,
// but that thaw stands in for a missing abort. Each gets the session as JSON on stdin and as VSS_* variables; exit 0 is
// success, 75 a failure worth retrying (EX_TEMPFAIL), any other a failure; the last line of stderr is the reason. Identify
// prints the component tree as JSON (document.WriterMetadata). Others may print {"components":[..]} (document.Component) to
// note what a writer notes: stamps, metadata, failures. An executable that exceeds its time is killed with its process group.
//
// Scripts made for others work unchanged: style "fsfreeze-hook" is a script that is called with freeze or thaw as its
// argument (qemu-ga), style "pre-post" a pair of which one runs before the copy and one after it.
//
// Executables are run as the service is, so neither they nor any folder on their way may be another's to change.
package hook
