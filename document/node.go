package document

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf16"
)

// Bounds of what is read.
const (
	MaxSize       = 64 << 20 // bytes, before and after decoding to UTF-8
	MaxDepth      = 64       // elements within elements
	maxElements   = 1 << 20  // "<" in the text
	maxAttributes = 1 << 21  // "=" in the text
)

// node is one element, or, with an empty name, a run of text in an element that this program doesn't know.
type node struct {
	name     xml.Name
	attrs    []xml.Attr
	children []*node
	text     string
}

// Foreign is what an element had that this program doesn't know: it is kept for the next writing.
type Foreign struct {
	attrs []xml.Attr
	nodes []*node
}

// Empty says that there is nothing foreign.
func (f Foreign) Empty() bool { return len(f.attrs) == 0 && len(f.nodes) == 0 }

// Equal says whether both hold the same.
func (f Foreign) Equal(o Foreign) bool {
	return f.Empty() && o.Empty() || reflect.DeepEqual(f, o)
}

// utf8Text is data as UTF-8 without a byte order mark; UTF-16 must have one.
func utf8Text(data []byte) ([]byte, bool, error) {
	if len(data) > MaxSize {
		return nil, false, fmt.Errorf("%d bytes; the limit is %d", len(data), MaxSize)
	}
	big := bytes.HasPrefix(data, []byte{0xfe, 0xff})
	if !big && !bytes.HasPrefix(data, []byte{0xff, 0xfe}) {
		return bytes.TrimPrefix(data, []byte("\ufeff")), false, nil
	}
	data = data[2:]
	if len(data)%2 != 0 {
		return nil, false, errors.New("UTF-16 with half a character")
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = uint16(data[2*i]) | uint16(data[2*i+1])<<8
		if big {
			units[i] = units[i]>>8 | units[i]<<8
		}
	}
	text := []byte(string(utf16.Decode(units)))
	if len(text) > MaxSize {
		return nil, false, fmt.Errorf("%d bytes as UTF-8; the limit is %d", len(text), MaxSize)
	}
	// Decode turns half a surrogate pair into U+FFFD: more of those than the text had means that it was broken.
	replaced := 0
	for _, u := range units {
		if u == 0xfffd {
			replaced++
		}
	}
	if bytes.Count(text, []byte("\ufffd")) != replaced {
		return nil, false, errors.New("UTF-16 with half a surrogate pair")
	}
	return text, true, nil
}

// parse reads one document and nothing after it.
func parse(data []byte) (*node, error) {
	text, wide, err := utf8Text(data)
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(text, []byte("<")); n > maxElements {
		return nil, fmt.Errorf("%d tags; the limit is %d", n, maxElements)
	}
	if n := bytes.Count(text, []byte("=")); n > maxAttributes {
		return nil, fmt.Errorf("%d attributes; the limit is %d", n, maxAttributes)
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if wide && strings.HasPrefix(strings.ToLower(charset), "utf-16") || strings.EqualFold(charset, "us-ascii") {
			return r, nil
		}
		return nil, fmt.Errorf("encoding %q", charset)
	}
	var root *node
	var path []*node
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if root != nil && len(path) == 0 {
				return nil, fmt.Errorf("a second root element, %s", t.Name.Local)
			}
			if len(path) == MaxDepth {
				return nil, fmt.Errorf("elements deeper than %d", MaxDepth)
			}
			attrs, err := attributes(t)
			if err != nil {
				return nil, err
			}
			n := &node{name: t.Name, attrs: attrs}
			if root == nil {
				root = n
			} else {
				up := path[len(path)-1]
				up.children = append(up.children, n)
			}
			path = append(path, n)
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if len(path) > 0 {
				up := path[len(path)-1]
				up.children = append(up.children, &node{text: string(t)})
			} else if len(bytes.TrimSpace(t)) > 0 {
				return nil, errors.New("text outside the root element")
			}
		case xml.Directive:
			return nil, errors.New("a DTD")
		}
	}
	if root == nil {
		return nil, errors.New("no root element")
	}
	return root, nil
}

// attributes are an element's own, without the declarations of namespaces; encoding/xml lets duplicates pass.
func attributes(t xml.StartElement) ([]xml.Attr, error) {
	var out []xml.Attr
	seen := make(map[xml.Name]bool, len(t.Attr))
	for _, a := range t.Attr {
		if seen[a.Name] {
			return nil, fmt.Errorf("%s: attribute %s twice", t.Name.Local, a.Name.Local)
		}
		seen[a.Name] = true
		if a.Name.Space != "xmlns" && a.Name != (xml.Name{Local: "xmlns"}) {
			out = append(out, a)
		}
	}
	return out, nil
}

const xmlNamespace = "http://www.w3.org/XML/1998/namespace"

// write appends the element with all that is in it; space is the default namespace around it.
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

// escape appends text, refusing characters that XML can't hold: encoding/xml would put U+FFFD in their place.
func escape(b *bytes.Buffer, text string) error {
	for i, r := range text {
		legal := r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000
		if !legal || r == '\ufffd' && !strings.HasPrefix(text[i:], "\ufffd") {
			return fmt.Errorf("%q has a character that XML can't hold", text)
		}
	}
	return xml.EscapeText(b, []byte(text))
}
