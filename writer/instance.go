package writer

import "github.com/stillpoint-vss/stillpoint/vss"

// Instance is a writer that runs now: one object of its class, from its registration until its process ends. A call to one
// that is gone, or that doesn't answer before its context ends, is VSS_E_WRITER_NOT_RESPONDING.
type Instance struct {
	ID     vss.WriterInstanceID // given at registration, new at every start
	Info   Info
	Writer Writer
}
