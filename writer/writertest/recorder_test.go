package writertest_test

import (
	"testing"

	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

func TestRecorder(t *testing.T) {
	writertest.Run(t, func(*testing.T) *writertest.World {
		r := writertest.NewRecorder("memory")
		return &writertest.World{Writer: r, Frozen: r.Frozen}
	})
}
