package document

import (
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// codec reads or writes one element. Each part of a document is described by one function that names its attributes
// and children; the same function reads and writes, so that the two can't differ. The first error is kept.
type codec struct {
	n       *node
	space   string
	writing bool
	alien   bool // the document has no format number: another program wrote it
	// values that can't be read are kept as foreign ones, as this part may have a form that is unknown here
	lenient bool
	known   uint64   // indexes of the attributes that were read
	taken   []string // names of the children that were read
	inner   []inner  // foreign content of children that have no place for it
	rested  bool     // foreign content has been stored
	err     *error
}

func (c *codec) fail(attr string, err error) {
	if *c.err == nil {
		*c.err = fmt.Errorf("%s %s: %w", c.n.name.Local, attr, err)
	}
}

// strange handles an attribute whose value can't be read.
func (c *codec) strange(name string, err error) {
	if c.lenient {
		c.forget(name)
	} else {
		c.fail(name, err)
	}
}

func (c *codec) find(name string) int {
	return slices.IndexFunc(c.n.attrs, func(a xml.Attr) bool { return a.Name == xml.Name{Local: name} })
}

// forget adds an attribute to the foreign ones.
func (c *codec) forget(name string) {
	if i := c.find(name); i >= 0 {
		c.known &^= 1 << i
	}
}

// text is a plain attribute; an empty value isn't written.
func (c *codec) text(name string, p *string) { c.attr(name, p, false) }

// attr is an attribute; with always it is also written if empty, and must be present.
func (c *codec) attr(name string, p *string, always bool) {
	if c.writing {
		if always || *p != "" {
			c.n.attrs = append(c.n.attrs, xml.Attr{Name: xml.Name{Local: name}, Value: *p})
		}
		return
	}
	i := c.find(name)
	switch {
	case i >= 0:
		c.known |= 1 << i
		*p = c.n.attrs[i].Value
	case always:
		c.fail(name, fmt.Errorf("missing attribute"))
	}
}

// yesNo is a boolean; with always, no is written as well.
func (c *codec) yesNo(name string, p *bool, always bool) {
	text := ""
	if *p {
		text = "yes"
	} else if always {
		text = "no"
	}
	c.text(name, &text)
	if c.writing {
		return
	}
	switch text {
	case "yes":
		*p = true
	case "no", "":
		*p = false
	default:
		c.strange(name, fmt.Errorf("invalid value %q; want yes or no", text))
	}
}

// guid is an identifier without braces; GUID_NULL isn't written.
func (c *codec) guid(name string, p *vss.GUID) {
	text := ""
	if !p.IsZero() {
		text = p.Plain()
	}
	c.text(name, &text)
	if c.writing || text == "" {
		return
	}
	g, err := vss.ParseGUID(text)
	if err != nil {
		c.strange(name, err)
		return
	}
	*p = g
}

// key is an identifier that other parts refer to: an invalid one is an error in any document.
func (c *codec) key(name string, p *vss.GUID) {
	lenient := c.lenient
	c.lenient = false
	c.guid(name, p)
	c.lenient = lenient
}

// hex is hexadecimal bytes.
func (c *codec) hex(name string, p *[]byte) {
	text := hex.EncodeToString(*p)
	c.text(name, &text)
	if c.writing || text == "" {
		return
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		c.strange(name, err)
		return
	}
	*p = b
}

// time is a time of RFC 3339 in UTC; the zero time isn't written.
func (c *codec) time(name string, p *time.Time) {
	text := ""
	if !p.IsZero() {
		text = p.UTC().Format(time.RFC3339Nano)
	}
	c.text(name, &text)
	if c.writing || text == "" {
		return
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		c.strange(name, err)
		return
	}
	*p = t.UTC()
}

type integer interface {
	~int | ~int32 | ~int64 | ~uint8 | ~uint32 | ~uint64
}

// number is a decimal number that must be in the range of its type; with always, 0 is written as well.
func number[T integer](c *codec, name string, p *T, always bool) {
	text := ""
	if *p != 0 || always {
		text = fmt.Sprintf("%d", *p) // with a verb, since some of the types have a String method
	}
	c.text(name, &text)
	if c.writing || text == "" {
		return
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && int64(T(n)) == n && (T(n) < 0) == (n < 0) {
		*p = T(n)
	} else if u, err := strconv.ParseUint(text, 10, 64); err == nil && uint64(T(u)) == u && T(u) >= 0 {
		*p = T(u)
	} else {
		c.strange(name, fmt.Errorf("invalid number %q", text))
	}
}

// word is an enumeration by name; the value 0 isn't written. Case is ignored, as some programs differ in it. For an
// unknown word the value stays 0, undefined, and the word is kept as foreign: for several of Microsoft's values no
// public sample shows the spelling.
func word[T ~int32](c *codec, name string, p *T, words []string) {
	text := ""
	if *p != 0 {
		if *p < 0 || int(*p) >= len(words) {
			c.fail(name, fmt.Errorf("%d has no name", *p))
			return
		}
		text = words[*p]
	}
	c.text(name, &text)
	if c.writing || text == "" {
		return
	}
	i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, text) })
	if i < 0 {
		c.forget(name)
		return
	}
	*p = T(i)
}

// mixed is a list of children with several names in document order. nameOf returns an item's element name, set stores
// the one that was read.
func mixed[T any](c *codec, names []string, items *[]T, nameOf func(*T) string, f func(*codec, string, *T)) {
	if c.writing {
		for i := range *items {
			name := nameOf(&(*items)[i])
			f(c.child(name), name, &(*items)[i])
		}
		return
	}
	if len(c.n.children) == 0 {
		return
	}
	c.taken = append(c.taken, names...)
	wanted := func(n *node) bool { return slices.Contains(names, n.name.Local) && c.ours(n) }
	count := 0
	for _, n := range c.n.children {
		if wanted(n) {
			count++
		}
	}
	*items = slices.Grow(*items, count)
	for _, n := range c.n.children {
		if wanted(n) {
			i := len(*items)
			*items = (*items)[:i+1]
			sub := c.enter(n)
			f(sub, n.name.Local, &(*items)[i])
			c.keep(sub, i)
		}
	}
}

// list is a list of children with one name.
func list[T any](c *codec, name string, items *[]T, f func(*codec, *T)) {
	mixed(c, []string{name}, items, func(*T) string { return name }, func(c *codec, _ string, item *T) { f(c, item) })
}

// pointers is a list of children with one name, as pointers.
func pointers[T any](c *codec, name string, items *[]*T, f func(*codec, *T)) {
	list(c, name, items, func(c *codec, item **T) {
		if *item == nil {
			*item = new(T)
		}
		f(c, *item)
	})
}

// one is an optional child; f isn't called if there is none to read. present selects whether it is written.
func (c *codec) one(name string, present bool, f func(*codec)) {
	if c.writing {
		if present {
			f(c.child(name))
		}
		return
	}
	if len(c.n.children) == 0 {
		return
	}
	c.taken = append(c.taken, name)
	found := false
	for _, n := range c.n.children {
		if n.name.Local != name || !c.ours(n) {
			continue
		}
		if found {
			c.fail(name, fmt.Errorf("duplicate element"))
			return
		}
		found = true
		sub := c.enter(n)
		f(sub)
		c.keep(sub, only)
	}
}

// keep stores what a child had that wasn't read, unless the child's own description did so.
func (c *codec) keep(sub *codec, index int) {
	if sub.rested {
		return
	}
	var f Foreign
	if sub.rest(&f); !f.Empty() {
		c.inner = append(c.inner, inner{sub.n.name.Local, index, f})
	}
}

// rest stores what wasn't read. It is the last call in every description; what elements without a Foreign of their own
// had is stored by the nearest parent that has one.
func (c *codec) rest(f *Foreign) {
	if c.writing {
		f.addTo(c.n, c.space)
		return
	}
	c.rested = true
	for i, a := range c.n.attrs {
		if c.known&(1<<i) == 0 {
			f.attrs = append(f.attrs, a)
		}
	}
	for _, n := range c.n.children {
		switch {
		case n.name.Local == "":
			if strings.TrimSpace(n.text) != "" {
				c.fail("text", fmt.Errorf("unexpected text %.40q", n.text))
			}
		case !slices.Contains(c.taken, n.name.Local) || !c.ours(n):
			f.nodes = append(f.nodes, n)
		}
	}
	slices.SortFunc(f.attrs, byName)
	f.inner = c.inner
}

// ours reports whether an element may belong to the schema: some elements are written outside the namespace.
func (c *codec) ours(n *node) bool { return n.name.Space == c.space || n.name.Space == "" }

func (c *codec) child(name string) *codec {
	n := &node{name: xml.Name{Space: c.space, Local: name}}
	c.n.children = append(c.n.children, n)
	return c.enter(n)
}

func (c *codec) enter(n *node) *codec {
	return &codec{n: n, space: c.space, writing: c.writing, alien: c.alien, lenient: c.lenient, err: c.err}
}
