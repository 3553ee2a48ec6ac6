// Package requester is the client of the Volume Shadow Copy Service, for backup programs and tools.
//
// Connect connects to the service and returns a Client. Client.Open returns a BackupComponents, one requester object,
// whose methods have the names and the order of IVssBackupComponents. Client.Create runs that sequence in one call,
// which is enough for most programs. Client.Disks manages the LUNs that volumes are on.
//
// A requester object lives until it is closed or the program ends. The service then aborts an unfinished creation and
// deletes the copies of an auto-release context.
//
// Errors are of type *vss.Error. Test them for a result code with errors.Is:
//
//	if errors.Is(err, vss.ErrSnapshotSetInProgress) {
//		// another set is being created: try again later
//	}
//
// vss.Hint(err) returns what the user can do about an error.
package requester
