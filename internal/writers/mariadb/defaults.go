package mariadb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const maxDefaults = 64 << 10 // bytes of a file of options

// credentials are how to log in.
type credentials struct{ user, password, socket string }

// sections of a file of options that count for every client.
var sections = []string{"client", "client-server", "client-mariadb"}

// readDefaults reads a file of options. Errors: VSS_E_WRITERERROR_NONRETRYABLE, also for one that others may read or write.
func readDefaults(path string) (credentials, error) {
	bad := func(err error, advice string) (credentials, error) {
		return credentials{}, vss.E("ReadDefaults", vss.ErrWriterErrorNonRetryable, err).On(path).Advise(advice)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return bad(err, "correct defaults in the writer's configuration")
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return bad(err, "correct defaults in the writer's configuration")
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 {
		return bad(fmt.Errorf("its mode is %v", st.Mode()), "it holds a password: make it a file that only its owner may read (chmod 600)")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDefaults))
	if err != nil {
		return bad(err, "see why it can't be read")
	}
	c, err := parseDefaults(string(text))
	if err != nil {
		return bad(err, "write user, password and socket into its section [client]")
	}
	return c, nil
}

// parseDefaults reads the text of a file of options. Source: MariaDB's reference, configuring with option files.
func parseDefaults(text string) (c credentials, err error) {
	ours := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '!':
			return c, errors.New("it includes other files, which isn't supported here")
		case line[0] == '[':
			ours = slices.Contains(sections, strings.Trim(line, "[] \t"))
			continue
		case !ours:
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		value = unquote(strings.TrimSpace(value))
		switch strings.ReplaceAll(strings.TrimSpace(key), "_", "-") {
		case "user":
			c.user = value
		case "password":
			c.password = value
		case "socket":
			c.socket = value
		}
	}
	if c.user == "" {
		return c, errors.New("it names no user")
	}
	return c, nil
}

// unquote takes quotes, a comment after the value and escapes away.
func unquote(s string) string {
	if s == "" {
		return s
	}
	if q := s[0]; q == '"' || q == '\'' {
		if end := strings.LastIndexByte(s, q); end > 0 {
			s = s[1:end]
		}
	} else if at := strings.Index(s, " #"); at >= 0 {
		s = strings.TrimSpace(s[:at])
	}
	return strings.NewReplacer(`\b`, "\b", `\t`, "\t", `\n`, "\n", `\r`, "\r", `\\`, `\`, `\s`, " ", `\"`, `"`, `\'`, "'").Replace(s)
}
