package testwriter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const maxFile = 16 << 20 // bytes of a configuration: component trees are large

// settings is the configuration. Every key but id and name has a default.
type settings struct {
	ID           vss.GUID       `toml:"id"`            // the writer's class
	Name         string         `toml:"name"`          // what commands show
	InstanceName string         `toml:"instance_name"` // where one class runs several times
	Level        string         `toml:"level"`         // "front-end" (default), "back-end", "system"
	FreezeLimit  string         `toml:"freeze_limit"`  // from Freeze to Thaw; default 60s
	Usage        vss.UsageType  `toml:"usage"`         // default "user-data"
	Source       vss.SourceType `toml:"source"`        // default "other"
	Socket       string         `toml:"socket"`        // name of its socket, without .sock; default the writer's name
	Record       string         `toml:"record"`        // file that the JSON lines are appended to; default standard output
	Metadata     map[string]any `toml:"metadata"`      // restore method, components, ...: the keys that a hook writer's identify prints
	Faults       []fault        `toml:"fault"`         // what it does wrong

	info     writer.Info
	metadata document.WriterMetadata
}

// fault is what the writer does at an event in place of succeeding.
type fault struct {
	Event       string `toml:"event"`       // info, identify, prepare-backup, ..., post-restore
	Do          string `toml:"do"`          // one of acts
	Lie         string `toml:"lie"`         // with do = "lie": which one
	Code        string `toml:"code"`        // name or number; default VSS_E_WRITERERROR_NONRETRYABLE
	Application uint32 `toml:"application"` // the application's own code, with do = "veto" and "fail"
	Message     string `toml:"message"`     // for people
	For         string `toml:"for"`         // how long a delay or a hang lasts; default: a delay 1s, a hang for ever
	Skip        int    `toml:"skip"`        // so many events of the kind succeed before
	Times       int    `toml:"times"`       // how often it is done; default always

	code vss.Code
	last time.Duration // 0: for ever
	seen int           // events of the kind so far; Writer.mu
}

// acts are what a fault may do.
var acts = []string{"fail", "veto", "stall", "hang", "delay", "die", "panic", "lie"}

// lies are what a fault may lie about, with the events in which it can.
var lies = map[string]func(event string) bool{
	"class":      func(e string) bool { return e == "info" || e == "identify" }, // it is of another class than it joined as
	"metadata":   func(e string) bool { return e == "identify" },                // they break their own rules
	"nothing":    func(e string) bool { return e == "identify" },                // there are none
	"code":       func(e string) bool { return e != "info" },                    // a failure that no writer may have
	"components": func(e string) bool { return e != "info" && e != "identify" }, // it changes what is the requester's
}

// load reads a configuration. Errors: E_INVALIDARG with the key, VSS_E_OBJECT_NOT_FOUND.
func load(path string) (*settings, error) {
	const op = "LoadTestWriter"
	f, err := os.Open(path)
	if err != nil {
		return nil, vss.E(op, vss.ErrObjectNotFound, err).On(path)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("more than %d bytes", maxFile)
	}
	var s *settings
	if err == nil {
		s, err = parse(string(text))
	}
	if err != nil {
		return nil, vss.E(op, vss.ErrInvalidArg, err).On(path).Advise("the keys are explained in the documentation of writers")
	}
	return s, nil
}

func parse(text string) (*settings, error) {
	s := &settings{Level: vss.LevelFrontEnd.String(), FreezeLimit: writer.DefaultFreezeTimeout.String(), Usage: vss.UsageUserData, Source: vss.SourceOther}
	meta, err := toml.Decode(text, s)
	if err != nil {
		return nil, err
	}
	for _, key := range meta.Undecoded() {
		if key[0] != "metadata" {
			return nil, fmt.Errorf("key %s: there is no such key", key)
		}
	}
	if err := s.who(); err != nil {
		return nil, err
	}
	if s.metadata, err = s.tree(); err != nil {
		return nil, fmt.Errorf("key metadata: %w", err)
	}
	for i := range s.Faults {
		if err := s.Faults[i].check(); err != nil {
			return nil, fmt.Errorf("fault %d: %w", i+1, err)
		}
	}
	return s, nil
}

func (s *settings) who() error {
	s.info = writer.Info{ID: vss.WriterID{GUID: s.ID}, Name: s.Name, InstanceName: s.InstanceName, Usage: s.Usage, Source: s.Source}
	for _, l := range []vss.ApplicationLevel{vss.LevelFrontEnd, vss.LevelBackEnd, vss.LevelSystem} {
		if l.String() == s.Level {
			s.info.Level = l
		}
	}
	var err error
	s.info.FreezeTimeout, err = time.ParseDuration(s.FreezeLimit)
	switch {
	case s.ID.IsZero():
		return errors.New("key id: the writer needs one (uuidgen makes one)")
	case s.Name == "":
		return errors.New("key name: the writer needs one")
	case s.info.Level == vss.LevelUnknown:
		return fmt.Errorf("key level: %q is none of front-end, back-end, system", s.Level)
	case err != nil || s.info.FreezeTimeout <= 0 || s.info.FreezeTimeout > writer.DefaultFreezeTimeout:
		return fmt.Errorf("key freeze_limit: %q is no time of more than 0s and at most %v", s.FreezeLimit, writer.DefaultFreezeTimeout)
	}
	if s.Socket == "" {
		s.Socket = s.Name
	}
	if strings.ContainsAny(s.Socket, "/\x00") {
		return fmt.Errorf("key socket: %q is no file name", s.Socket)
	}
	return nil
}

// tree reads the metadata table in the form that hook writers print.
func (s *settings) tree() (m document.WriterMetadata, err error) {
	b, err := json.Marshal(s.Metadata)
	if err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return m, d.Decode(&m)
}

func (f *fault) check() error {
	known := f.Event == "info" || f.Event == "identify"
	for _, h := range writer.Handlers() {
		known = known || eventName(h) == f.Event
	}
	if !known {
		return fmt.Errorf("key event: there is no event %q", f.Event)
	}
	f.code = vss.ErrWriterErrorNonRetryable
	if f.Code != "" {
		var err error
		if f.code, err = code(f.Code); err != nil {
			return err
		}
	}
	switch f.Do {
	case "fail", "stall", "hang", "die", "panic":
	case "delay":
		f.last = time.Second
	case "veto":
		if f.Event == "info" || f.Event == "identify" {
			return fmt.Errorf("key do: there is no veto in %s", f.Event)
		}
	case "lie":
		may, ok := lies[f.Lie]
		if !ok || !may(f.Event) {
			return fmt.Errorf("key lie: %q is nothing to lie about in %s", f.Lie, f.Event)
		}
	default:
		return fmt.Errorf("key do: %q is none of %s", f.Do, strings.Join(acts, ", "))
	}
	if f.For == "" {
		return nil
	}
	var err error
	if f.last, err = time.ParseDuration(f.For); err != nil || f.last <= 0 || f.Do != "delay" && f.Do != "hang" {
		return fmt.Errorf("key for: %q; a delay or a hang lasts for more than 0s", f.For)
	}
	return nil
}

// code reads a result by its name or number.
func code(s string) (vss.Code, error) {
	if c, ok := vss.CodeByName(s); ok {
		return c, nil
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("key code: %q is no result", s)
	}
	return vss.Code(n), nil
}
