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

// codec moves one element in or out. Each part of a document is described once, by a function that names its attributes
// and children; the same function reads and writes, so that the two can't differ. The first error stays.
type codec struct {
	n       *node
	space   string
	writing bool
	alien   bool     // the document says nothing of our format: another program wrote it
	lenient bool     // values that can't be read are kept as foreign ones: this part may be of a form that we don't know
	known   uint64   // attributes seen to, by their index
	taken   []string // names of children seen to
	inner   []inner  // foreign things of children that have no place for them
	rested  bool     // what is foreign here has found its place
	err     *error
}

func (c *codec) fail(attr string, err error) {
	if *c.err == nil {
		*c.err = fmt.Errorf("%s %s: %w", c.n.name.Local, attr, err)
	}
}

// strange is an attribute that is there with a value that can't be read.
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

// forget leaves an attribute to the foreign ones.
func (c *codec) forget(name string) {
	if i := c.find(name); i >= 0 {
		c.known &^= 1 << i
	}
}

// text is an attribute as it is; the empty text is left out.
func (c *codec) text(name string, p *string) { c.attr(name, p, false) }

// attr is an attribute; always says to write it also when it is empty, and to insist on it when reading.
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
		c.fail(name, fmt.Errorf("the attribute is missing"))
	}
}

// yesNo is a boolean; always says to write no as well.
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
		c.strange(name, fmt.Errorf("%q is neither yes nor no", text))
	}
}

// guid is an identifier without braces; GUID_NULL is left out.
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

// key is an identifier that the rest hangs on: one that can't be read is refused in any document.
func (c *codec) key(name string, p *vss.GUID) {
	lenient := c.lenient
	c.lenient = false
	c.guid(name, p)
	c.lenient = lenient
}

// hex is bytes in hexadecimal.
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

// time is RFC 3339 in UTC; the zero time is left out.
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

// number is decimal and must fit its type; with always, 0 is written too.
func number[T integer](c *codec, name string, p *T, always bool) {
	text := ""
	if *p != 0 || always {
		text = fmt.Sprintf("%d", *p) // by verb: some of the types print as words
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
		c.strange(name, fmt.Errorf("%q is not a number in range", text))
	}
}

// word is an enumeration by name; the value 0 is left out. Some programs differ in case. A word that isn't known leaves the
// value at 0, undefined, and is kept as it is: for several of Microsoft's values no public sample shows the spelling.
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

// mixed are children of several names in their order; nameOf tells an item's element, set notes which one was read.
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

// list are children of one name.
func list[T any](c *codec, name string, items *[]T, f func(*codec, *T)) {
	mixed(c, []string{name}, items, func(*T) string { return name }, func(c *codec, _ string, item *T) { f(c, item) })
}

// pointers are children of one name that are kept by pointer.
func pointers[T any](c *codec, name string, items *[]*T, f func(*codec, *T)) {
	list(c, name, items, func(c *codec, item **T) {
		if *item == nil {
			*item = new(T)
		}
		f(c, *item)
	})
}

// one is a child that is there at most once; f isn't called when there is none to read. present says whether to write it.
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
			c.fail(name, fmt.Errorf("the element is there twice"))
			return
		}
		found = true
		sub := c.enter(n)
		f(sub)
		c.keep(sub, only)
	}
}

// keep notes what a child had that nobody asked for, unless the child's own description did so.
func (c *codec) keep(sub *codec, index int) {
	if sub.rested {
		return
	}
	var f Foreign
	if sub.rest(&f); !f.Empty() {
		c.inner = append(c.inner, inner{sub.n.name.Local, index, f})
	}
}

// rest keeps what nobody asked for. It comes last in every description; the parts of elements that have no Foreign of their
// own are kept by the next one above that has.
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
				c.fail("text", fmt.Errorf("%.40q doesn't belong here", n.text))
			}
		case !slices.Contains(c.taken, n.name.Local) || !c.ours(n):
			f.nodes = append(f.nodes, n)
		}
	}
	slices.SortFunc(f.attrs, byName)
	f.inner = c.inner
}

// ours says whether an element may be one of the schema's: some are written outside the namespace.
func (c *codec) ours(n *node) bool { return n.name.Space == c.space || n.name.Space == "" }

func (c *codec) child(name string) *codec {
	n := &node{name: xml.Name{Space: c.space, Local: name}}
	c.n.children = append(c.n.children, n)
	return c.enter(n)
}

func (c *codec) enter(n *node) *codec {
	return &codec{n: n, space: c.space, writing: c.writing, alien: c.alien, lenient: c.lenient, err: c.err}
}
