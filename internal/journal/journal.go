// Package journal is the destination of the service's log: systemd's journal if standard error is connected to it,
// otherwise standard error as text. In both cases records pass a Ring, which writes nothing while volumes are held.
package journal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"unicode/utf8"

	systemd "github.com/coreos/go-systemd/v22/journal"
)

// New returns the service's log, for records from level on. Systemd's journal is used only if standard error is a
// stream to it; JOURNAL_STREAM alone isn't sufficient, since children inherit the variable.
func New(level slog.Leveler) *Ring { return NewRing(handler(os.Stderr, level), DefaultSize) }

func handler(stderr io.Writer, level slog.Leveler) slog.Handler {
	text := slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})
	if to, err := systemd.StderrIsJournalStream(); err == nil && to && systemd.Enabled() {
		return &sender{text: text, level: level, send: systemd.Send}
	}
	return text
}

// sender writes records to systemd's journal: the message with its attributes as text, and each attribute as a field
// of its own, such as VSS_SET_ID=... for set_id.
type sender struct {
	text   slog.Handler // for records that the journal doesn't accept
	level  slog.Leveler
	send   func(message string, p systemd.Priority, fields map[string]string) error
	prefix string // of the group, with its dot
	attrs  []slog.Attr
}

// Enabled implements slog.Handler.
func (s *sender) Enabled(_ context.Context, l slog.Level) bool { return l >= s.level.Level() }

// Handle implements slog.Handler.
func (s *sender) Handle(ctx context.Context, r slog.Record) error {
	var message strings.Builder
	message.WriteString(r.Message)
	fields := map[string]string{}
	add := func(prefix string, a slog.Attr) { flatten(prefix, a, &message, fields) }
	for _, a := range s.attrs {
		add("", a)
	}
	r.Attrs(func(a slog.Attr) bool { add(s.prefix, a); return true })
	if err := s.send(message.String(), priority(r.Level), fields); err != nil {
		return s.text.Handle(ctx, r)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (s *sender) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *s
	c.text = s.text.WithAttrs(attrs)
	c.attrs = append([]slog.Attr{}, s.attrs...)
	for _, a := range attrs {
		a.Key = s.prefix + a.Key
		c.attrs = append(c.attrs, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (s *sender) WithGroup(name string) slog.Handler {
	if name == "" {
		return s
	}
	c := *s
	c.text = s.text.WithGroup(name)
	c.prefix = s.prefix + name + "."
	return &c
}

func flatten(prefix string, a slog.Attr, message *strings.Builder, fields map[string]string) {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, g := range v.Group() {
			flatten(prefix, g, message, fields)
		}
		return
	}
	key, text := prefix+a.Key, v.String()
	if strings.ContainsAny(text, " \"=\n\t") || text == "" || !utf8.ValidString(text) {
		fmt.Fprintf(message, " %s=%q", key, text)
	} else {
		fmt.Fprintf(message, " %s=%s", key, text)
	}
	fields[field(key)] = text
}

// field returns a name that the journal accepts: A to Z, 0 to 9 and underscores, at most 64.
func field(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = "VSS_" + name
	return name[:min(len(name), 64)]
}

func priority(l slog.Level) systemd.Priority {
	switch {
	case l >= slog.LevelError:
		return systemd.PriErr
	case l >= slog.LevelWarn:
		return systemd.PriWarning
	case l >= slog.LevelInfo:
		return systemd.PriInfo
	}
	return systemd.PriDebug
}
