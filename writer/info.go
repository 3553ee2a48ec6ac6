package writer

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const maxName = 1 << 10 // bytes of a writer's name or instance name

// normal fills in the defaults and brings the freeze time-out to what is allowed. Errors: E_INVALIDARG.
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
		why = errors.New("it has no class id")
	case i.Name == "":
		why = errors.New("it has no name")
	case len(i.Name) > maxName || len(i.InstanceName) > maxName || !utf8.ValidString(i.Name) || !utf8.ValidString(i.InstanceName):
		why = fmt.Errorf("its name or instance name is no text of at most %d bytes", maxName)
	case i.Level < vss.LevelSystem || i.Level > vss.LevelFrontEnd:
		why = fmt.Errorf("level %d is none of system, back-end, front-end", i.Level)
	case i.FreezeTimeout < time.Millisecond:
		why = fmt.Errorf("a freeze time-out of %v is too short for anything", i.FreezeTimeout)
	}
	if why != nil {
		return Info{}, vss.E("GetInfo", vss.ErrInvalidArg, why).On(i.Name).Advise("the writer's description of itself is at fault; fix the writer")
	}
	return i, nil
}
