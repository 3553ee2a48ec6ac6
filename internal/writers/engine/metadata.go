package engine

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// NewMetadata encodes a record, which has its format's number as "format", with a backup stamp.
func NewMetadata(record any, stamp string) (Metadata, error) {
	b, err := json.Marshal(record)
	return Metadata{Text: string(b), Stamp: stamp}, err
}

// ReadMetadata decodes backup metadata: a JSON object with its format's number as "format". Errors:
// VSS_E_WRITERERROR_NONRETRYABLE for a format newer than known, and if check returns an error.
func ReadMetadata[R any](text string, known int, check func(*R) error) (*R, error) {
	var head struct {
		Format int `json:"format"`
	}
	record := new(R)
	err := json.Unmarshal([]byte(text), &head)
	if err == nil && head.Format > known {
		err = fmt.Errorf("format %d is newer than format %d of this writer", head.Format, known)
	}
	if err == nil && head.Format < 1 {
		err = errors.New("the metadata have no format")
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), record)
	}
	if err == nil {
		err = check(record)
	}
	if err != nil {
		return nil, vss.E("ReadBackupMetadata", vss.ErrWriterErrorNonRetryable, err).
			Advise("use the Backup Components Document of the backup, and this or a newer version of the program")
	}
	return record, nil
}
