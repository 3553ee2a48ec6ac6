// Package writertest proves a writer: Run tells it events as the coordinator would, and as the coordinator never should, in
// process and over a socket, and looks each time whether anything stays frozen. Recorder is a writer in memory that passes,
// notes what it was told and fails where a test wants it to, for tests of those who call writers; Socket puts any writer
// behind a socket.
package writertest
