package writertest_test

import (
	"context"
	"testing"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

func TestRecorder(t *testing.T) {
	writertest.Run(t, func(*testing.T) *writertest.World {
		r := writertest.NewRecorder("memory")
		return &writertest.World{Writer: r, Frozen: r.Frozen}
	})
}

// TestCases checks that the cases pass for a good writer without go test, and that a writer which does not thaw fails.
func TestCases(t *testing.T) {
	verdicts := func(dress func(*writertest.Recorder) writer.Writer) (passed int, failed []string) {
		conformance.Run(t.Context(), writertest.Cases(func(c conformance.T) (*writertest.World, writer.Remote) {
			r := writertest.NewRecorder("memory")
			return &writertest.World{Frozen: r.Frozen}, writertest.Socket(c, dress(r))
		}), func(v conformance.Verdict) {
			switch v.Outcome {
			case conformance.Pass:
				passed++
			case conformance.Fail:
				failed = append(failed, v.Case)
			}
		})
		return passed, failed
	}
	passed, failed := verdicts(func(r *writertest.Recorder) writer.Writer { return r })
	if passed < 12 || len(failed) > 0 {
		t.Errorf("%d cases passed; failed: %v", passed, failed)
	}
	passed, failed = verdicts(func(r *writertest.Recorder) writer.Writer { return &noThaw{r} })
	if passed == 0 || len(failed) < 5 {
		t.Errorf("without Thaw %d cases passed; failed: %v", passed, failed)
	}
}

// noThaw is a writer that refuses to thaw.
type noThaw struct{ *writertest.Recorder }

func (*noThaw) Thaw(context.Context, *writer.Event) error {
	return vss.E("Thaw", vss.ErrWriterErrorRetryable, nil)
}
