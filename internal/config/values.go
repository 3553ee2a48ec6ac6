package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Size is a number of bytes. In the file it is a number, or a string such as "512M" or "2G" (powers of 1024).
type Size int64

// ParseSize parses digits and one of K, M, G, T, P (with or without "iB" or "B"), or digits alone for bytes. Errors:
// E_INVALIDARG.
func ParseSize(s string) (Size, error) {
	bad := func(err error) (Size, error) {
		return 0, vss.E("ParseSize", vss.ErrInvalidArg, err).On(s).Advise(`write a size as "512M" or "2G"`)
	}
	t := strings.ToUpper(strings.TrimSpace(s))
	digits := len(t) - len(strings.TrimLeft(t, "0123456789"))
	shift, known := units[strings.TrimSpace(t[digits:])]
	if !known {
		return bad(nil)
	}
	n, err := strconv.ParseInt(t[:digits], 10, 64)
	if err != nil {
		return bad(err)
	}
	if n > math.MaxInt64>>shift {
		return bad(fmt.Errorf("more than %d bytes", int64(math.MaxInt64)))
	}
	return Size(n << shift), nil
}

var units = map[string]int{
	"": 0, "B": 0,
	"K": 10, "KB": 10, "KIB": 10,
	"M": 20, "MB": 20, "MIB": 20,
	"G": 30, "GB": 30, "GIB": 30,
	"T": 40, "TB": 40, "TIB": 40,
	"P": 50, "PB": 50, "PIB": 50,
}

// UnmarshalTOML implements toml.Unmarshaler for numbers and strings.
func (s *Size) UnmarshalTOML(v any) error {
	switch t := v.(type) {
	case int64:
		if t < 0 {
			return fmt.Errorf("a size must not be negative")
		}
		*s = Size(t)
		return nil
	case string:
		n, err := ParseSize(t)
		*s = n
		return err
	}
	return fmt.Errorf(`want a size such as "2G", not %T`, v)
}

// Duration is a duration in the form of package time: "10s", "1m30s". Bare numbers are errors, since they lack a unit.
type Duration struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	d.Duration, err = time.ParseDuration(string(b))
	return err
}
