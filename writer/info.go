package writer

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const maxName = 1 << 10 // bytes of a writer's name or instance name

// normal fills in the defaults and limits the freeze time-out. Errors: E_INVALIDARG.
func (i Info) normal() (Info, error) {
	if i.Level == vss.LevelUnknown {
		i.Level = vss.LevelFrontEnd
	}
	if i.FreezeTimeout <= 0 || i.FreezeTimeout > DefaultFreezeTimeout {
		i.FreezeTimeout = DefaultFreezeTimeout
	}
	var why error
	switch {
	case i.ID.IsZero():
		why = errors.New("the class id is missing")
	case i.Name == "":
		why = errors.New("the name is missing")
	case !validName(i.Name) || !validName(i.InstanceName):
		why = fmt.Errorf("the name or instance name is not UTF-8, or is longer than %d bytes", maxName)
	case i.Level < vss.LevelSystem || i.Level > vss.LevelFrontEnd:
		why = fmt.Errorf("invalid level %d: use system, back-end or front-end", i.Level)
	case i.FreezeTimeout < time.Millisecond:
		why = fmt.Errorf("the freeze time-out %v is less than a millisecond", i.FreezeTimeout)
	}
	if why != nil {
		return Info{}, vss.E("GetInfo", vss.ErrInvalidArg, why).On(i.Name).
			Advise("correct what the writer's Info returns")
	}
	return i, nil
}

func validName(s string) bool { return len(s) <= maxName && utf8.ValidString(s) }
