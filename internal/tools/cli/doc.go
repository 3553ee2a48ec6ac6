// Package cli is what the command-line tools of this module share: the connection to the service, exit codes, the
// output of tables, JSON documents and errors, progress, the parsing of sizes, ids and times, and running a command of
// the user.
//
// The JSON documents, their fields and the exit codes are a contract with scripts. Fields are added, and never renamed
// or removed.
package cli
