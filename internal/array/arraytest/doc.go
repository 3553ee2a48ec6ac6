// Package arraytest is the conformance suite of arrays. Every implementation of array.Array passes Run: ours in
// process, ours over a socket, and those of others.
package arraytest
