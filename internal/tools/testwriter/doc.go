// Package testwriter is the program vss-testwriter: a writer made of a configuration, for those who test requesters, the
// service or a backup product. It shows any component tree, fails, stalls, dies or lies at any event, records what it was
// told as JSON lines, and says where the requester broke the rules of VSS. Source: the test writer of the VSS SDK.
package testwriter
