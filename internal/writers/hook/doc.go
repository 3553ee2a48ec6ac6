// Package hook makes writers of executables, so that a shell script suffices to make an application consistent.
//
// A hook writer is a folder with writer.toml and executables named after events: identify, prepare-backup,
// prepare-snapshot, freeze, thaw, post-snapshot, abort, backup-complete, backup-shutdown, pre-restore, post-restore.
// Missing ones are skipped; thaw replaces a missing abort. Each receives the session as JSON on stdin and as variables
// VSS_*. Exit status 0 is success, 75 (EX_TEMPFAIL) a failure worth retrying, any other a failure; the last line of
// stderr is the reason. Identify prints the component tree as JSON (document.WriterMetadata). Others may print
// {"components":[..]} (document.Component) to record stamps, metadata and failures. An executable that exceeds its
// time limit is killed with its process group.
//
// Scripts for other programs can be used unchanged: style "fsfreeze-hook" is a script called with freeze or thaw as
// its argument (qemu-ga), style "pre-post" a pair of scripts, one before and one after the copy.
//
// Executables run with the rights of the service, so no other account may be able to change them or a folder on their
// path.
package hook
