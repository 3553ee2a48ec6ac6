// Package requester is for programs that ask the Volume Shadow Copy Service for shadow copies: backup programs and tools.
//
// Connect finds the service, Client.Open makes a BackupComponents: one requester object, whose methods keep their VSS names
// and order. Create does what most programs want in one call. All errors are *vss.Error, tested by errors.Is and a code.
//
// A requester object lives until Close, or until the program dies: then the service aborts what is unfinished and deletes
// copies of an auto-release context.
package requester
