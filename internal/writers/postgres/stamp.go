package postgres

import (
	"errors"
	"fmt"
)

// position is a position in the WAL (LSN). Its text is in the form of PostgreSQL, such as 16/B374D848.
type position uint64

func (p position) String() string { return fmt.Sprintf("%X/%X", uint32(p>>32), uint32(p)) }

func parsePosition(text string) (position, error) {
	var high, low uint32
	if n, err := fmt.Sscanf(text, "%X/%X", &high, &low); n != 2 || err != nil {
		return 0, fmt.Errorf("invalid WAL position %q", text)
	}
	return position(high)<<32 | position(low), nil
}

// stamp is the backup stamp: where the next backup of the same cluster continues.
type stamp struct {
	system string   // identifier of the cluster
	line   uint32   // timeline
	at     position // end of the WAL in the backup
	// wal is a digest of the WAL before at, within its file. A cluster that was restored to an earlier state, or a
	// copy that was started, has different WAL at the same position of the same timeline, so backups of the two can't
	// build on each other.
	wal string
}

const stampForm = "system=%s timeline=%d lsn=%s wal=%s"

func (s stamp) String() string { return fmt.Sprintf(stampForm, s.system, s.line, s.at, s.wal) }

var errNoStamp = errors.New("the stamp of the backup that this one builds on is missing")

func parseStamp(text string) (s stamp, err error) {
	if text == "" {
		return s, errNoStamp
	}
	var at string
	_, err = fmt.Sscanf(text, stampForm, &s.system, &s.line, &at, &s.wal)
	if err == nil {
		s.at, err = parsePosition(at)
	}
	if err != nil || s.at == 0 || s.String() != text {
		return s, fmt.Errorf("invalid backup stamp %.200q", text)
	}
	return s, nil
}
