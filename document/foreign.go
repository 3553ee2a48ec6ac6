package document

import (
	"cmp"
	"encoding/xml"
	"reflect"
	"slices"
	"strings"
)

// Foreign is the content of an element that this program doesn't know. It is preserved when the document is written.
type Foreign struct {
	attrs []xml.Attr
	nodes []*node
	inner []inner
	alien bool // of a root: the document isn't of our format, and must not get a format number when it is written
}

// inner is unknown content of a child that has no place for it.
type inner struct {
	name  string
	index int // in the list of children with the same name
	Foreign
}

// only is the index of a child that occurs once.
const only = -1

// Empty reports whether there is no foreign content.
func (f Foreign) Empty() bool { return len(f.attrs) == 0 && len(f.nodes) == 0 && len(f.inner) == 0 }

// Equal reports whether both have the same content.
func (f Foreign) Equal(o Foreign) bool {
	return f.Empty() && o.Empty() || reflect.DeepEqual(f, o)
}

// byName sorts attributes, whose order has no meaning in a document.
func byName(a, b xml.Attr) int {
	return cmp.Or(strings.Compare(a.Name.Space, b.Name.Space), strings.Compare(a.Name.Local, b.Name.Local))
}

// addTo adds the content to an element that already has its own attributes and children. A value that the program has
// set takes precedence over an unreadable attribute; a default doesn't.
func (f Foreign) addTo(n *node, space string) {
	for _, a := range f.attrs {
		i := slices.IndexFunc(n.attrs, func(b xml.Attr) bool { return a.Name == b.Name })
		if i < 0 {
			n.attrs = append(n.attrs, a)
		} else if v := n.attrs[i].Value; v == "0" || v == "no" {
			n.attrs[i].Value = a.Value
		}
	}
	for _, i := range f.inner {
		if child := n.find(i.name, max(i.index, 0), space); child != nil {
			i.addTo(child, space)
		} else if i.index == only {
			child = &node{name: xml.Name{Space: space, Local: i.name}}
			i.addTo(child, space)
			n.children = append(n.children, child)
		}
	}
	n.children = append(n.children, f.nodes...)
}

// find returns the child with a name at an index, in the namespace or outside any.
func (n *node) find(name string, index int, space string) *node {
	for _, c := range n.children {
		if c.name.Local != name || c.name.Space != space && c.name.Space != "" {
			continue
		}
		if index == 0 {
			return c
		}
		index--
	}
	return nil
}
