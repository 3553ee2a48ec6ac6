// Package testrequester is the program vss-testrequester: a requester made of a script, one call a line, right or wrong, for
// those who test writers, the service or what a requester may expect of it. It prints what each call gave. Source: BETest of
// the VSS SDK.
package testrequester
