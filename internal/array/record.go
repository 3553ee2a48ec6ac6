package array

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// newIdentity makes a serial and a NAA identifier. The NAA is what LIO derives from the serial (6001405 and the first
// 25 digits), so that a LUN has one identity at all targets; the serial is random from its first digit.
func newIdentity() (serial, naa string) {
	var b [16]byte
	_, _ = rand.Read(b[:])
	serial = hex.EncodeToString(b[:])
	return serial, "6001405" + serial[:25]
}

// Check returns an error for a record that isn't valid, or is of a newer format: records come from a pool's files and
// from other hosts. Errors: VDS_E_PROVIDER_CACHE_CORRUPT, VSS_E_NOT_SUPPORTED.
func (l *LUN) Check() error {
	corrupt := func(what string) error {
		return vss.E("ReadRecord", vss.VDSErrProviderCacheCorrupt, errors.New("not a LUN record: "+what)).
			On(strconv.QuoteToASCII(l.Name))
	}
	switch {
	case l.Format > Format:
		return vss.E(
			"ReadRecord", vss.ErrNotSupported,
			fmt.Errorf("the LUN record has format %d, this program knows up to %d", l.Format, Format),
		).
			On(strconv.QuoteToASCII(l.Name)).
			Advise("use the newer program that wrote it; nothing was changed")
	case l.Format < 1:
		return corrupt("no format")
	case l.ID.IsZero():
		return corrupt("no id")
	case !NameOK(l.Name):
		return corrupt("bad name")
	case l.Size < minSize, l.Size > maxSize:
		return corrupt("bad size")
	case len(l.Serial) != 32 || !isHex(l.Serial), len(l.NAA) != 32 || !isHex(l.NAA) || l.NAA[0] != '6':
		return corrupt("bad identifiers")
	case l.Kind != KindPlain && l.Kind != KindShadowCopy,
		l.Method != "" && l.Method != MethodDifferential && l.Method != MethodPlex:
		return corrupt("bad kind")
	case l.Percent < 0 || l.Percent > 100, l.Flags&^vss.FlagsShadowCopy != 0:
		return corrupt("bad progress or flags")
	case l.Host != "" && !NameOK(l.Host),
		l.Importer != "" && !NameOK(l.Importer),
		slices.ContainsFunc(l.MappedTo, func(h string) bool { return !NameOK(h) }):
		return corrupt("bad host")
	case !slices.Contains(states, l.State):
		return corrupt("bad state")
	}
	return nil
}

func isHex(s string) bool { _, err := hex.DecodeString(s); return err == nil }

// NameOK reports whether a LUN or a host can have a name: 1 to 128 printable characters, no slash, not an id. Names are
// shown to people and stand in paths.
func NameOK(s string) bool {
	_, err := vss.ParseGUID(s)
	return s != "" && len(s) <= 128 && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == '/' || !unicode.IsPrint(r) }) &&
		err != nil
}

func parseRecord(b []byte) (LUN, error) {
	var l LUN
	if err := json.Unmarshal(b, &l); err != nil {
		return l, vss.E("ReadRecord", vss.VDSErrProviderCacheCorrupt, err)
	}
	return l, l.Check()
}

// readRecords reads all records of a folder. What was being written when the power failed is a .new file, and is
// removed once all records are known to be ours: a folder of a newer format is left as it is.
func readRecords(dir string) ([]LUN, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // a pool that isn't made yet
	}
	if err != nil {
		return nil, vss.E("ReadRecords", vss.ErrUnexpected, err).On(dir)
	}
	var out []LUN
	var left []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch filepath.Ext(e.Name()) {
		case atomicfile.Suffix:
			left = append(left, path)
		case ".json":
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, vss.E("ReadRecord", vss.ErrUnexpected, err).On(path)
			}
			l, err := parseRecord(b)
			if err == nil && recordPath(dir, l.ID) != path {
				err = vss.E("ReadRecord", vss.VDSErrProviderCacheCorrupt, errors.New("the record of another LUN")).
					Advise("remove the file if it is a copy")
			}
			if err != nil {
				return nil, vss.E("ReadRecord", vss.CodeOf(err), err).On(path).Advise(vss.Hint(err))
			}
			out = append(out, l)
		}
	}
	for _, path := range left {
		_ = os.Remove(path)
	}
	return out, nil
}

func recordPath(dir string, id vss.LUNID) string { return filepath.Join(dir, id.Plain()+".json") }

func removeRecord(dir string, id vss.LUNID) error {
	err := fault.Around("array", "remove-record", func() error { return os.Remove(recordPath(dir, id)) })
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return vss.E("RemoveRecord", vss.ErrUnexpected, err).On(id.String())
	}
	return atomicfile.SyncFolders(dir)
}
