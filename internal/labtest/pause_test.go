package labtest

import (
	"bytes"
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/fault/faulttest"
)

// pauseAt starts a service and a creation that waits at a point. The function that it returns lets it go on, and gives
// the command's document when it has ended.
func (h *host) pauseAt(point string, limit time.Duration, volumes ...string) (goOn func() (out []byte, ok bool)) {
	h.Helper()
	h.stop(unix.SIGTERM)
	gate := faulttest.NewGate(h)
	h.fault = gate.At(point)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	h.Cleanup(cancel)
	cmd := h.command(ctx, append([]string{"create", "--no-writers", "--hold-limit", limit.String()}, volumes...)...)
	h.fault = ""
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	if !gate.Reached(time.Minute) {
		h.Fatalf("the creation doesn't come to %s\n%s", point, h.log())
	}
	return func() ([]byte, bool) {
		gate.Open(h)
		err := cmd.Wait()
		return out.Bytes(), err == nil
	}
}
