package engine

import (
	"encoding/json"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// NewMetadata makes metadata of a record, with its format's number as "format", and of a backup stamp.
func NewMetadata(record any, stamp string) (Metadata, error) {
	b, err := json.Marshal(record)
	return Metadata{Text: string(b), Stamp: stamp}, err
}

// ReadMetadata reads backup metadata, which are an object of JSON with its format's number as "format". Errors:
// VSS_E_WRITERERROR_NONRETRYABLE for a format beyond the one that is known here, and where check finds that they are another
// writer's.
func ReadMetadata(text string, known int, record any, check func() error) error {
	var head struct {
		Format int `json:"format"`
	}
	err := json.Unmarshal([]byte(text), &head)
	if err == nil && head.Format > known {
		err = fmt.Errorf("they have format %d, this writer knows %d", head.Format, known)
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), record)
	}
	if err == nil {
		err = check()
	}
	if err != nil {
		return vss.E("ReadBackupMetadata", vss.ErrWriterErrorNonRetryable, err).
			Advise("restore by the Backup Components Document that the backup wrote, with this or a newer version")
	}
	return nil
}
