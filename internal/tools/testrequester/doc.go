// Package testrequester is the program vss-testrequester, a requester controlled by a script, for testing writers and
// the service. The script contains one call per line, in any order, valid or not; the program prints the result of
// each. Source: BETest of the VSS SDK.
package testrequester
