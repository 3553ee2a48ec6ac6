package document

import (
	"cmp"
	"encoding/xml"
	"reflect"
	"slices"
	"strings"
)

// Foreign is what an element had that this program doesn't know: it is kept for the next writing.
type Foreign struct {
	attrs []xml.Attr
	nodes []*node
	inner []inner
	alien bool // of a root: the document isn't of our format, and mustn't be called so when it is written
}

// inner is what a child had that this program doesn't know, where the child itself has no place for it.
type inner struct {
	name  string
	index int // among the list that it is of
	Foreign
}

// only is the index of a child that is there once.
const only = -1

// Empty says that there is nothing foreign.
func (f Foreign) Empty() bool { return len(f.attrs) == 0 && len(f.nodes) == 0 && len(f.inner) == 0 }

// Equal says whether both hold the same.
func (f Foreign) Equal(o Foreign) bool {
	return f.Empty() && o.Empty() || reflect.DeepEqual(f, o)
}

// byName puts attributes in one order; theirs in a document has no meaning.
func byName(a, b xml.Attr) int {
	return cmp.Or(strings.Compare(a.Name.Space, b.Name.Space), strings.Compare(a.Name.Local, b.Name.Local))
}

// addTo writes it into an element whose own attributes and children are there. What the program has set wins over an
// attribute that it couldn't read; what it only filled in doesn't.
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

// find is the child of a name at an index, in the namespace or outside any.
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
