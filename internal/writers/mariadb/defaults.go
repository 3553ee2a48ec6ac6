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

const maxDefaults = 64 << 10 // bytes of an option file

// credentials are user, password and socket.
type credentials struct{ user, password, socket string }

// sections of an option file that apply to all clients.
var sections = []string{"client", "client-server", "client-mariadb"}

// readDefaults reads an option file. Errors: VSS_E_WRITERERROR_NONRETRYABLE, also if other accounts may read or write
// the file.
func readDefaults(path string) (credentials, error) {
	bad := func(err error, advice string) (credentials, error) {
		return credentials{}, vss.E("ReadDefaults", vss.ErrWriterErrorNonRetryable, err).On(path).Advise(advice)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return bad(err, "correct the path under defaults in the writer's configuration")
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return bad(err, "correct the path under defaults in the writer's configuration")
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 {
		return bad(
			fmt.Errorf("it has mode %v", st.Mode()),
			"it contains a password: make it readable by its owner only (chmod 600)",
		)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDefaults))
	if err != nil {
		return bad(err, "make the file readable")
	}
	c, err := parseDefaults(string(text))
	if err != nil {
		return bad(err, "set user, password and socket in its section [client]")
	}
	return c, nil
}

// parseDefaults parses an option file. Source: MariaDB's reference, configuring with option files.
func parseDefaults(text string) (c credentials, err error) {
	ours := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '!':
			return c, errors.New("include directives are not supported")
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
		return c, errors.New("it has no key user")
	}
	return c, nil
}

// unquote removes quotes, a comment after the value, and escapes.
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
	return strings.NewReplacer(`\b`, "\b", `\t`, "\t", `\n`, "\n", `\r`, "\r", `\\`, `\`, `\s`, " ",
		`\"`, `"`, `\'`, "'").
		Replace(s)
}
