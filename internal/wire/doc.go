// Package wire carries errors and credentials across a socket, in one place. A handler returns a *vss.Error and its caller
// gets the same *vss.Error, whichever side of a socket it is on; a handler knows by Peer who called it. NewServer and Dial
// have the limits, the interceptors and the credentials in them: whatever serves or calls gRPC here begins with these two.
package wire
