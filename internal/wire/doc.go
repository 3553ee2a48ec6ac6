// Package wire transmits errors and credentials over a socket. A handler returns a *vss.Error and its caller receives
// the same *vss.Error, in the same process or over a socket. Peer returns the process that called a handler. NewServer
// and Dial set limits, interceptors and credentials; everything that serves or calls gRPC uses them.
package wire
