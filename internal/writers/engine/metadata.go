package engine

import (
	"encoding/json"
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
func ReadMetadata(text string, known int, record any, check func() error) error {
	var head struct {
		Format int `json:"format"`
	}
	err := json.Unmarshal([]byte(text), &head)
	if err == nil && head.Format > known {
		err = fmt.Errorf("format %d is newer than format %d of this writer", head.Format, known)
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), record)
	}
	if err == nil {
		err = check()
	}
	if err != nil {
		return vss.E("ReadBackupMetadata", vss.ErrWriterErrorNonRetryable, err).
			Advise("use the Backup Components Document of the backup, and this or a newer version of the program")
	}
	return nil
}
