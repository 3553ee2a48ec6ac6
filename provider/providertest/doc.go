// Package providertest tests providers. Run calls a provider as the service does, and also in ways in which the
// service never should, and checks after each case what is left in its storage. HardwareCases and SoftwareCases are
// the same cases for programs; the program vss-conform runs them against any socket.
//
// Memory and MemorySoftware are complete providers whose storage is in memory, for tests of code that calls providers.
// RecordHardware and RecordSoftware log the calls that a provider receives. Socket puts a provider behind a socket.
package providertest
