package testrequester

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const maxScript = 1 << 20 // bytes

// statement is one line of a script.
type statement struct {
	line  int
	call  *call
	args  []string
	start bool      // begin the operation, and don't wait for it
	wants *vss.Code // what the script expects; nil: anything
}

// parse reads a script: a call a line with its arguments, words in '..' or ".." with blanks in them, "&" at the end for an
// operation that isn't waited for, "=> RESULT" for what is expected, "#" begins a comment. Errors: E_INVALIDARG with the line.
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
			return nil, vss.E("ReadScript", vss.ErrInvalidArg, fmt.Errorf("line %d: %w", n, err)).Advise("`vss-testrequester --calls` lists the calls")
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
		c, err := result(words[n-1].text)
		if err != nil {
			return err
		}
		s.wants, words = &c, words[:n-2]
	}
	if n := len(words); n > 0 && words[n-1].is("&") {
		s.start, words = true, words[:n-1]
	}
	if len(words) == 0 {
		return errors.New("there is no call")
	}
	for i := range calls {
		if strings.EqualFold(calls[i].name, words[0].text) {
			s.call = &calls[i]
		}
	}
	switch {
	case s.call == nil:
		return fmt.Errorf("there is no call %s", words[0].text)
	case s.start && s.call.begin == nil:
		return fmt.Errorf("%s is no asynchronous call", s.call.name)
	}
	for _, w := range words[1:] {
		s.args = append(s.args, w.text)
	}
	if n := len(s.args); n < s.call.min || s.call.max >= 0 && n > s.call.max {
		return fmt.Errorf("want %s", s.call.usage())
	}
	return nil
}

// result reads a code by its name or number.
func result(s string) (vss.Code, error) {
	if c, ok := vss.CodeByName(s); ok {
		return c, nil
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no result", s)
	}
	return vss.Code(n), nil
}

// word is one word of a line. A quoted one is never a sign.
type word struct {
	text   string
	quoted bool
}

func (w word) is(sign string) bool { return !w.quoted && w.text == sign }

// split takes a line apart. A backslash is a character like any other: logical paths have it.
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
				return nil, fmt.Errorf("a quotation mark %s is not closed", line[:1])
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
