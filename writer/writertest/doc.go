// Package writertest tests writers. Run calls a writer as the service does, and also in ways in which the service never
// should, in process and over a socket, and checks each time that nothing stays frozen. Cases returns the same cases
// for programs; the program vss-conform runs them against any socket.
//
// Recorder is a writer in memory that passes, records its events and fails where a test wants it to, for tests of
// code that calls writers. Socket puts a writer behind a socket.
package writertest
