// Package testwriter is the program vss-testwriter, a writer controlled by a configuration, for testing requesters, the
// service and backup products. It can have any component tree and fail, stall, die or return false data at any event.
// It records the events as JSON lines, with the violations of VSS's rules by the requester. Source: the test writer of
// the VSS SDK.
package testwriter
