// Package arraytest proves an array: whatever implements array.Array passes Run, ours in process, ours over a socket,
// and anybody's.
package arraytest
