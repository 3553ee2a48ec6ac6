package cli

import (
	"math"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "1048576": 1 << 20, "2G": 2 << 30, "2g": 2 << 30, "2GiB": 2 << 30, "2GB": 2 << 30, "512M": 512 << 20,
		"1.5T": 3 << 39, "4k": 4096,
		"": 0, "0": 0, "-1": 0, "1.5": 0, "G": 0, "1e9": 0, "inf": 0, "0x10": 0, "2X": 0, "5i": 0, "9000000E": 0,
		"2 G": 0, "1..5G": 0, "99999999999999999999": 0,
	} {
		got, err := ParseSize(in)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %d, %v, want %d", in, got, err, want)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"2G", "1.5T", "0", "-1", "9223372036854775807", "8E"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); err == nil && (n < 1 || n > math.MaxInt64-1 && s != "9223372036854775807") ||
			err != nil && n != 0 {
			t.Errorf("%q: %d, %v", s, n, err)
		}
	})
}

func TestTimes(t *testing.T) {
	now := time.Date(2026, 11, 24, 16, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{"10m": now.Add(-10 * time.Minute),
		"2026-11-24T15:00:00Z": now.Add(-time.Hour), "": {}} {
		if got, err := ParseTime(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"yesterday", "-10m", "2026-13-01"} {
		if _, err := ParseTime(in, now); err == nil {
			t.Errorf("%q is taken for a time", in)
		}
	}
}
