package writer

import "github.com/stillpoint-vss/stillpoint/vss"

// Instance is a writer that runs now: one object of its class, from its registration until its process ends. A call
// to an instance whose process has ended, or that does not answer before its context ends, is
// VSS_E_WRITER_NOT_RESPONDING.
type Instance struct {
	ID     vss.WriterInstanceID // assigned at registration, a new one at every start
	Info   Info
	Writer Writer
}
