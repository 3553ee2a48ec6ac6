package hook

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const maxFile = 1 << 20 // bytes of writer.toml

// Styles of a hook writer.
const (
	styleEvents   = ""              // one executable for each event
	styleFsfreeze = "fsfreeze-hook" // one script, called with freeze or thaw
	stylePrePost  = "pre-post"      // a script before and a script after
)

// settings is the content of writer.toml. All keys but id and name have defaults.
type settings struct {
	ID           vss.GUID `toml:"id"`            // class of the writer; must not change
	Name         string   `toml:"name"`          // name shown by commands
	InstanceName string   `toml:"instance_name"` // if one class runs several times on this host
	Level        string   `toml:"level"`         // "front-end" (default), "back-end", "system"
	FreezeLimit  string   `toml:"freeze_limit"`  // longest time from freeze to thaw, at most the default of 60s
	Usage        string   `toml:"usage"`         // as in metadata; default "user-data"
	Source       string   `toml:"source"`        // as in metadata; default "other"
	Paths        []string `toml:"paths"`         // what belongs to the writer, if it has no identify
	// "veto" (default): a failing freeze or thaw is reported; "abort": it fails the set
	OnFailure string `toml:"on_failure"`
	Style     string `toml:"style"`  // "fsfreeze-hook", "pre-post"; default: executables named after events
	Script    string `toml:"script"` // of style fsfreeze-hook; default fsfreeze-hook in the folder
	Pre       string `toml:"pre"`    // of style pre-post; default pre in the folder
	Post      string `toml:"post"`   // of style pre-post; default post in the folder

	level  vss.ApplicationLevel
	limit  time.Duration
	usage  vss.UsageType
	source vss.SourceType
}

// parse decodes writer.toml. Errors name the key, or the line of a syntax error.
func parse(text []byte) (*settings, error) {
	s := &settings{
		Level:       "front-end",
		FreezeLimit: "60s",
		Usage:       vss.UsageUserData.String(),
		Source:      vss.SourceOther.String(),
		OnFailure:   "veto",
	}
	meta, err := toml.Decode(string(text), s)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("unknown key %s", unknown[0])
	}
	return s, s.check()
}

func (s *settings) check() error {
	switch s.Level {
	case "front-end":
		s.level = vss.LevelFrontEnd
	case "back-end":
		s.level = vss.LevelBackEnd
	case "system":
		s.level = vss.LevelSystem
	default:
		return fmt.Errorf("key level: invalid value %q; want front-end, back-end or system", s.Level)
	}
	var err error
	if s.limit, err = time.ParseDuration(s.FreezeLimit); err != nil || s.limit <= 0 || s.limit > time.Minute {
		return fmt.Errorf("key freeze_limit: invalid duration %q; want more than 0s and at most 60s", s.FreezeLimit)
	}
	if err := s.usage.UnmarshalText([]byte(s.Usage)); err != nil {
		return fmt.Errorf("key usage: %w", err)
	}
	if err := s.source.UnmarshalText([]byte(s.Source)); err != nil {
		return fmt.Errorf("key source: %w", err)
	}
	foreign := map[string]string{"script": s.Script, "pre": s.Pre, "post": s.Post}
	switch s.Style {
	case styleEvents:
	case styleFsfreeze:
		delete(foreign, "script")
	case stylePrePost:
		delete(foreign, "pre")
		delete(foreign, "post")
	default:
		return fmt.Errorf("key style: invalid value %q; want %s or %s", s.Style, styleFsfreeze, stylePrePost)
	}
	for key, value := range foreign {
		if value != "" {
			return fmt.Errorf("key %s: style %q doesn't use this key", key, s.Style)
		}
	}
	for _, p := range append([]string{s.Script, s.Pre, s.Post}, s.Paths...) {
		if p != "" && !filepath.IsAbs(p) || strings.ContainsAny(p, "*?\x00") {
			return fmt.Errorf("%q: want an absolute path without wildcards", p)
		}
	}
	switch {
	case s.ID.IsZero():
		return errors.New("key id: the writer needs an id of its own; create one with uuidgen")
	case s.Name == "" || strings.ContainsAny(s.Name, "\\\n\x00"):
		return errors.New(`key name: want a name without \ and line breaks`)
	case s.OnFailure != "veto" && s.OnFailure != "abort":
		return fmt.Errorf("key on_failure: invalid value %q; want veto or abort", s.OnFailure)
	}
	return nil
}
