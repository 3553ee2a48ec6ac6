package testwriter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const maxFile = 16 << 20 // maximum size of a configuration in bytes; component trees are large

// settings is the configuration. Every key except id and name has a default.
type settings struct {
	ID           vss.GUID       `toml:"id"`            // the writer's class
	Name         string         `toml:"name"`          // as commands show it
	InstanceName string         `toml:"instance_name"` // if several instances of the class run
	Level        string         `toml:"level"`         // "front-end" (default), "back-end", "system"
	FreezeLimit  string         `toml:"freeze_limit"`  // from Freeze to Thaw; default 60s
	Usage        vss.UsageType  `toml:"usage"`         // default "user-data"
	Source       vss.SourceType `toml:"source"`        // default "other"
	Socket       string         `toml:"socket"`        // name of its socket, without .sock; default the writer's name
	// file that the JSON lines are appended to; default standard output
	Record string `toml:"record"`
	// as the identify of a hook writer prints it: restore method, components, ...
	Metadata map[string]any `toml:"metadata"`
	Faults   []fault        `toml:"fault"` // what it does wrong, and when

	info     writer.Info
	metadata document.WriterMetadata
}

// fault is what the writer does at an event instead of succeeding.
type fault struct {
	Event       string `toml:"event"`       // info, identify, prepare-backup, ..., post-restore
	Do          string `toml:"do"`          // one of acts
	Lie         string `toml:"lie"`         // with do = "lie": one of lies
	Code        string `toml:"code"`        // name or number; default VSS_E_WRITERERROR_NONRETRYABLE
	Application uint32 `toml:"application"` // the application's own code, with do = "veto" and "fail"
	Message     string `toml:"message"`     // explanation of the failure
	For         string `toml:"for"`         // duration of a delay (default 1s) or a hang (default unlimited)
	Skip        int    `toml:"skip"`        // number of events that succeed before
	Times       int    `toml:"times"`       // number of events that fail; default unlimited

	code vss.Code
	last time.Duration // 0: unlimited
	seen int           // number of events so far; guarded by Writer.mu
}

// acts are the values of Do.
var acts = []string{"fail", "veto", "stall", "hang", "delay", "die", "panic", "lie"}

// lies are the values of Lie, with the events at which they are possible.
var lies = map[string]func(event string) bool{
	// another class than that it registered with
	"class":    func(e string) bool { return e == "info" || e == "identify" },
	"metadata": func(e string) bool { return e == "identify" }, // invalid metadata
	"nothing":  func(e string) bool { return e == "identify" }, // no metadata
	// a failure code that writers must not use
	"code":       func(e string) bool { return e != "info" },
	"components": func(e string) bool { return e != "info" && e != "identify" }, // changes to fields of the requester
}

// load reads a configuration file. Errors: E_INVALIDARG with the key, VSS_E_OBJECT_NOT_FOUND.
func load(path string) (*settings, error) {
	const op = "LoadTestWriter"
	f, err := os.Open(path)
	if err != nil {
		return nil, vss.E(op, vss.ErrObjectNotFound, err).On(path)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("the file is larger than %d bytes", maxFile)
	}
	var s *settings
	if err == nil {
		s, err = parse(string(text))
	}
	if err != nil {
		return nil, vss.E(op, vss.ErrInvalidArg, err).On(path).Advise("docs/writers.md describes the keys")
	}
	return s, nil
}

func parse(text string) (*settings, error) {
	s := &settings{Level: vss.LevelFrontEnd.String(), FreezeLimit: writer.DefaultFreezeTimeout.String(),
		Usage: vss.UsageUserData, Source: vss.SourceOther}
	meta, err := toml.Decode(text, s)
	if err != nil {
		return nil, err
	}
	for _, key := range meta.Undecoded() {
		if key[0] != "metadata" {
			return nil, fmt.Errorf("unknown key %s", key)
		}
	}
	if err := s.identity(); err != nil {
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

// identity sets the information about the writer, and checks it.
func (s *settings) identity() error {
	s.info = writer.Info{ID: vss.WriterID{GUID: s.ID}, Name: s.Name, InstanceName: s.InstanceName, Usage: s.Usage,
		Source: s.Source}
	for _, l := range []vss.ApplicationLevel{vss.LevelFrontEnd, vss.LevelBackEnd, vss.LevelSystem} {
		if l.String() == s.Level {
			s.info.Level = l
		}
	}
	var err error
	s.info.FreezeTimeout, err = time.ParseDuration(s.FreezeLimit)
	switch {
	case s.ID.IsZero():
		return errors.New("missing key id; uuidgen makes one")
	case s.Name == "":
		return errors.New("missing key name")
	case s.info.Level == vss.LevelUnknown:
		return fmt.Errorf("key level: invalid value %q; allowed are front-end, back-end, system", s.Level)
	case err != nil || s.info.FreezeTimeout <= 0 || s.info.FreezeTimeout > writer.DefaultFreezeTimeout:
		return fmt.Errorf("key freeze_limit: invalid value %q; more than 0s and at most %v is allowed", s.FreezeLimit,
			writer.DefaultFreezeTimeout)
	}
	if s.Socket == "" {
		s.Socket = s.Name
	}
	if strings.ContainsAny(s.Socket, "/\x00") {
		return fmt.Errorf("key socket: invalid file name %q", s.Socket)
	}
	return nil
}

// tree converts the table metadata, which has the form that hook writers print.
func (s *settings) tree() (m document.WriterMetadata, err error) {
	b, err := json.Marshal(s.Metadata)
	if err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return m, d.Decode(&m)
}

// check checks a fault and sets its defaults.
func (f *fault) check() error {
	known := f.Event == "info" || f.Event == "identify"
	for _, h := range writer.Handlers() {
		known = known || eventName(h) == f.Event
	}
	if !known {
		return fmt.Errorf("key event: unknown event %q", f.Event)
	}
	f.code = vss.ErrWriterErrorNonRetryable
	if f.Code != "" {
		var err error
		if f.code, err = cli.ParseCode(f.Code); err != nil {
			return fmt.Errorf("key code: %w", err)
		}
	}
	switch f.Do {
	case "fail", "stall", "hang", "die", "panic":
	case "delay":
		f.last = time.Second
	case "veto":
		if f.Event == "info" || f.Event == "identify" {
			return fmt.Errorf("key do: a veto is not possible at %s", f.Event)
		}
	case "lie":
		may, ok := lies[f.Lie]
		if !ok || !may(f.Event) {
			return fmt.Errorf("key lie: %q is not possible at %s", f.Lie, f.Event)
		}
	default:
		return fmt.Errorf("key do: invalid value %q; allowed are %s", f.Do, strings.Join(acts, ", "))
	}
	if f.For == "" {
		return nil
	}
	var err error
	if f.last, err = time.ParseDuration(f.For); err != nil || f.last <= 0 || f.Do != "delay" && f.Do != "hang" {
		return fmt.Errorf("key for: invalid value %q; a delay or hang lasts for more than 0s", f.For)
	}
	return nil
}
