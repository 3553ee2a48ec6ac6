package document

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// node is one element or, with an empty name, text in an element that this program doesn't know.
type node struct {
	name     xml.Name
	attrs    []xml.Attr
	children []*node
	text     string
}

// parse reads one document.
func parse(data []byte) (*node, error) {
	text, wide, err := utf8Text(data)
	if err != nil {
		return nil, err
	}
	if err := bounded(text); err != nil {
		return nil, err
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if wide && strings.HasPrefix(strings.ToLower(charset), "utf-16") || strings.EqualFold(charset, "us-ascii") {
			return r, nil
		}
		return nil, fmt.Errorf("encoding %q", charset)
	}
	var t builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = t.add(token)
		}
		if err != nil {
			return nil, err
		}
	}
	if t.root == nil {
		return nil, errors.New("no root element")
	}
	return t.root, nil
}

// builder is a document while it is parsed.
type builder struct {
	root  *node
	path  []*node
	chars []byte // text since the last tag, across comments and CDATA sections
}

// add adds the next token.
func (t *builder) add(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		return t.start(token)
	case xml.EndElement:
		t.flush()
		t.path = t.path[:len(t.path)-1]
	case xml.CharData:
		if len(t.path) > 0 {
			t.chars = append(t.chars, token...)
		} else if len(bytes.TrimSpace(token)) > 0 {
			return errors.New("text outside the root element")
		}
	case xml.Directive:
		return errors.New("a DTD")
	}
	return nil
}

// start begins an element.
func (t *builder) start(e xml.StartElement) error {
	if t.root != nil && len(t.path) == 0 {
		return fmt.Errorf("a second root element, %s", e.Name.Local)
	}
	if len(t.path) == MaxDepth {
		return fmt.Errorf("elements deeper than %d", MaxDepth)
	}
	attrs, err := attributes(e)
	if err != nil {
		return err
	}
	if err := isName(e.Name.Local); err != nil {
		return err
	}
	n := &node{name: e.Name, attrs: attrs}
	if t.root == nil {
		t.root = n
	} else {
		t.flush()
		up := t.path[len(t.path)-1]
		up.children = append(up.children, n)
	}
	t.path = append(t.path, n)
	return nil
}

// flush adds the text since the last tag to the current element.
func (t *builder) flush() {
	if len(t.chars) > 0 {
		up := t.path[len(t.path)-1]
		up.children = append(up.children, &node{text: string(t.chars)})
		t.chars = t.chars[:0]
	}
}

// attributes returns an element's own attributes, without namespace declarations; encoding/xml doesn't detect
// duplicates.
func attributes(t xml.StartElement) ([]xml.Attr, error) {
	var out []xml.Attr
	for i, a := range t.Attr {
		if slices.ContainsFunc(t.Attr[:i], func(b xml.Attr) bool { return a.Name == b.Name }) {
			return nil, fmt.Errorf("%s: duplicate attribute %s", t.Name.Local, a.Name.Local)
		}
		if a.Name.Space != "xmlns" && a.Name != (xml.Name{Local: "xmlns"}) {
			if err := isName(a.Name.Local); err != nil {
				return nil, err
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// isName returns an error for a name that is invalid without its prefix, as in p:4: encoding/xml checks the two
// together.
func isName(local string) error {
	r, size := utf8.DecodeRuneInString(local)
	ok := r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_' || r == ':'
	if r >= utf8.RuneSelf {
		_, err := xml.NewDecoder(strings.NewReader("<" + local[:size] + "/>")).Token()
		ok = err == nil
	}
	if !ok {
		return fmt.Errorf("invalid name %.40q", local)
	}
	return nil
}

const xmlNamespace = "http://www.w3.org/XML/1998/namespace"

// write appends the element with its content; space is the default namespace around it.
func (n *node) write(b *bytes.Buffer, space string) error {
	if n.name.Local == "" {
		return escape(b, n.text)
	}
	b.WriteString("<" + n.name.Local)
	if n.name.Space != space {
		space = n.name.Space
		b.WriteString(` xmlns="`)
		if err := escape(b, space); err != nil {
			return err
		}
		b.WriteString(`"`)
	}
	prefixes := 0
	for _, a := range n.attrs {
		prefix := ""
		switch a.Name.Space {
		case "":
		case xmlNamespace:
			prefix = "xml:"
		default:
			prefixes++
			p := fmt.Sprintf("n%d", prefixes)
			prefix = p + ":"
			b.WriteString(" xmlns:" + p + `="`)
			if err := escape(b, a.Name.Space); err != nil {
				return err
			}
			b.WriteString(`"`)
		}
		b.WriteString(" " + prefix + a.Name.Local + `="`)
		if err := escape(b, a.Value); err != nil {
			return err
		}
		b.WriteString(`"`)
	}
	if len(n.children) == 0 {
		b.WriteString("/>")
		return nil
	}
	b.WriteString(">")
	for _, c := range n.children {
		if err := c.write(b, space); err != nil {
			return err
		}
	}
	b.WriteString("</" + n.name.Local + ">")
	return nil
}

// escape appends text. Characters that XML can't represent are an error: encoding/xml would replace them by U+FFFD.
func escape(b *bytes.Buffer, text string) error {
	for i, r := range text {
		legal := r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd ||
			r >= 0x10000
		if !legal || r == '\ufffd' && !strings.HasPrefix(text[i:], "\ufffd") {
			return fmt.Errorf("%q has a character that XML can't represent", text)
		}
	}
	return xml.EscapeText(b, []byte(text))
}
