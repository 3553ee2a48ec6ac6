package cli

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// ParseSize parses a size in bytes: "2G", "512M", "1.5T", "4KiB", "1048576". Units are powers of 1024. It returns a
// *UsageError if s is not a size, or not a positive one.
func ParseSize(s string) (int64, error) {
	invalid := Usagef("write sizes as 2G, 512M, 1.5T or in bytes", "invalid size %q", s)
	t := strings.ToUpper(strings.TrimSpace(s))
	t = strings.TrimSuffix(strings.TrimSuffix(t, "B"), "I")
	unit := float64(1)
	if i := strings.IndexByte("KMGTPE", lastByte(t)); i >= 0 {
		unit = math.Pow(1024, float64(i+1))
		t = t[:len(t)-1]
	} else if strings.ContainsAny(strings.ToUpper(s), "I") {
		return 0, invalid // "5i", "5iB": half a unit
	}
	if strings.Trim(t, "0123456789.") != "" || t == "" {
		return 0, invalid // ParseFloat would accept "inf", "0x10" and "1e9"
	}
	if n, err := strconv.ParseInt(t, 10, 64); err == nil && unit == 1 {
		if n == 0 {
			return 0, invalid
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(t, 64)
	f *= unit
	if err != nil || f < 1 || f >= math.MaxInt64 || unit == 1 {
		return 0, invalid
	}
	return int64(f), nil
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// ParseID parses the id of an object; kind is what the object is, for the error. It returns a *UsageError.
func ParseID(kind, s string) (vss.GUID, error) {
	g, err := vss.ParseGUID(s)
	if err != nil || g.IsZero() {
		return g, Usagef("write it as {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}", "invalid id %q of a %s", s, kind)
	}
	return g, nil
}

// ParseTime parses a time in RFC 3339 or without zone, or a duration before now. For "" it returns the zero time. It
// returns a *UsageError.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, Usagef("write it as 2026-11-24T16:00:00+01:00, or as 10m for ten minutes ago",
		"invalid time %q", s)
}

// HumanSize formats a size with one decimal and a unit; below 1024 it is in bytes.
func HumanSize(n int64) string {
	f, i := float64(n), 0
	for f >= 1024 && i < 6 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " KMGTPE"[i:i+1]
}
