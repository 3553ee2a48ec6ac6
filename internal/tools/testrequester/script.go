package testrequester

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const maxScript = 1 << 20 // bytes

// statement is one line of a script.
type statement struct {
	line  int
	call  *call
	args  []string
	start bool      // start the operation without waiting for it
	wants *vss.Code // expected result; nil: any
}

// parse parses a script, as the help describes it. Words with blanks are in '..' or "..". Errors: E_INVALIDARG with the
// number of the line.
func parse(in io.Reader) ([]statement, error) {
	var out []statement
	lines := bufio.NewScanner(io.LimitReader(in, maxScript))
	lines.Buffer(nil, maxScript)
	n := 0
	for lines.Scan() {
		n++
		words, err := split(lines.Text())
		if err == nil && len(words) == 0 {
			continue
		}
		s := statement{line: n}
		if err == nil {
			err = s.read(words)
		}
		if err != nil {
			return nil, vss.E("ReadScript", vss.ErrInvalidArg, fmt.Errorf("line %d: %w", n, err)).
				Advise("`vss-testrequester --calls` lists the calls")
		}
		out = append(out, s)
	}
	if err := lines.Err(); err != nil {
		return nil, vss.E("ReadScript", vss.ErrInvalidArg, err)
	}
	return out, nil
}

func (s *statement) read(words []word) error {
	if n := len(words); n >= 2 && words[n-2].is("=>") {
		c, err := cli.ParseCode(words[n-1].text)
		if err != nil {
			return err
		}
		s.wants, words = &c, words[:n-2]
	}
	if n := len(words); n > 0 && words[n-1].is("&") {
		s.start, words = true, words[:n-1]
	}
	if len(words) == 0 {
		return errors.New("missing call")
	}
	for i := range calls {
		if strings.EqualFold(calls[i].name, words[0].text) {
			s.call = &calls[i]
		}
	}
	switch {
	case s.call == nil:
		return fmt.Errorf("unknown call %s", words[0].text)
	case s.start && s.call.begin == nil:
		return fmt.Errorf("%s is not asynchronous", s.call.name)
	}
	for _, w := range words[1:] {
		s.args = append(s.args, w.text)
	}
	if n := len(s.args); n < s.call.min || s.call.max >= 0 && n > s.call.max {
		return fmt.Errorf("wrong number of arguments: %s", s.call.usage())
	}
	return nil
}

// word is one word of a line.
type word struct {
	text   string
	quoted bool
}

// is reports whether the word is the given sign and not quoted.
func (w word) is(sign string) bool { return !w.quoted && w.text == sign }

// split splits a line into words. A backslash has no special meaning, since logical paths contain it.
func split(line string) ([]word, error) {
	var words []word
	for {
		line = strings.TrimLeft(line, " \t\r")
		switch {
		case line == "" || line[0] == '#':
			return words, nil
		case line[0] == '\'' || line[0] == '"':
			text, rest, ok := strings.Cut(line[1:], line[:1])
			if !ok {
				return nil, fmt.Errorf("missing closing quotation mark %s", line[:1])
			}
			words, line = append(words, word{text, true}), rest
		default:
			end := strings.IndexAny(line, " \t\r")
			if end < 0 {
				end = len(line)
			}
			words, line = append(words, word{line[:end], false}), line[end:]
		}
	}
}
