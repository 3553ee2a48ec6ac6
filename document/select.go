package document

import (
	"fmt"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Selection is the way in which a component can be part of a backup. Source: working with selectability for backup.
type Selection int

// Kinds of components for the selection.
const (
	Required Selection = iota // not selectable, no selectable ancestor: included if anything of its writer is
	Optional                  // selectable, no selectable ancestor: may be added, and includes what is below it
	Nested                    // selectable, below a selectable one: may be added if none of those is included
	Implicit                  // not selectable, below a selectable one: included with it, can't be added
)

// Selection returns the kind of a component.
func (m *WriterMetadata) Selection(c *WMComponent) Selection { return selection(c, m.selectable()) }

func selection(c *WMComponent, selectable map[string]bool) Selection {
	below := under(c.LogicalPath, selectable)
	switch {
	case !below && !c.Selectable:
		return Required
	case !below:
		return Optional
	case c.Selectable:
		return Nested
	}
	return Implicit
}

// fullName returns a component's place in the tree, which is the logical path of those below it.
func fullName(logicalPath, name string) string {
	if logicalPath == "" {
		return name
	}
	return logicalPath + `\` + name
}

// FullName returns the component's logical path and name; the logical paths of those below it begin with it.
func (c *WMComponent) FullName() string { return fullName(c.LogicalPath, c.Name) }

// FullName returns the component's logical path and name.
func (c *Component) FullName() string { return fullName(c.LogicalPath, c.Name) }

// under reports whether a logical path contains one of these components. An element of a path need not be a component.
func under(logicalPath string, names map[string]bool) bool {
	for i, r := range logicalPath {
		if r == '\\' && names[logicalPath[:i]] {
			return true
		}
	}
	return names[logicalPath]
}

func (m *WriterMetadata) selectable() map[string]bool {
	names := map[string]bool{}
	for i := range m.Components {
		if c := &m.Components[i]; c.Selectable {
			names[c.FullName()] = true
		}
	}
	return names
}

// Below reports whether c lies below a in the tree of logical paths, at any depth.
func (c *WMComponent) Below(a *WMComponent) bool { return below(c.LogicalPath, a.FullName()) }

func below(logicalPath, root string) bool {
	return logicalPath == root || strings.HasPrefix(logicalPath, root+`\`)
}

// Set returns a component and, if it is selectable, all components below it. Source: component sets.
func (m *WriterMetadata) Set(c *WMComponent) []*WMComponent {
	set := []*WMComponent{c}
	for i := range m.Components {
		if d := &m.Components[i]; c.Selectable && d.Below(c) {
			set = append(set, d)
		}
	}
	return set
}

// Top returns the components to add for a complete backup: the required and the optional ones.
func (m *WriterMetadata) Top() []*WMComponent {
	var top []*WMComponent
	selectable := m.selectable()
	for i := range m.Components {
		if c := &m.Components[i]; selection(c, selectable) <= Optional {
			top = append(top, c)
		}
	}
	return top
}

// CheckAdd reports as an error that a requester can't add c if w is included already (nil: nothing).
// Errors: VSS_E_OBJECT_ALREADY_EXISTS; E_INVALIDARG for a component that is included with another, or would include
// another that is added.
// Source: AddComponent.
func (m *WriterMetadata) CheckAdd(w *WriterComponents, c *WMComponent) error {
	const op = "AddComponent"
	if m.Selection(c) == Implicit {
		return vss.E(op, vss.ErrInvalidArg,
			fmt.Errorf("it isn't selectable, but included with the selectable component above it")).
			On(c.FullName()).
			Advise("add the nearest selectable component above it")
	}
	if w == nil {
		return nil
	}
	if w.Component(c.LogicalPath, c.Name) != nil {
		return vss.E(op, vss.ErrObjectAlreadyExists, fmt.Errorf("already included")).
			On(c.FullName()).
			Advise("add each component only once")
	}
	for _, k := range w.Components {
		if a := m.Component(k.LogicalPath, k.Name); a != nil && a.Selectable && c.Below(a) {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("it is part of %s, which is included", k.FullName())).
				On(c.FullName()).Advise("omit it; its files are backed up")
		}
		if c.Selectable && below(k.LogicalPath, c.FullName()) {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("it contains %s, which is included", k.FullName())).
				On(c.FullName()).Advise("add either the complete component set or parts of it")
		}
	}
	return nil
}

// Missing returns the required components that still have to be included.
func (m *WriterMetadata) Missing(w *WriterComponents) []*WMComponent {
	var out []*WMComponent
	if w == nil || len(w.Components) == 0 {
		return nil
	}
	for _, c := range m.Top() {
		if !c.Selectable && w.Component(c.LogicalPath, c.Name) == nil {
			out = append(out, c)
		}
	}
	return out
}

// Included returns all components of a backup, explicit and implicit, in the writer's order.
func (m *WriterMetadata) Included(w *WriterComponents) []*WMComponent {
	var out []*WMComponent
	for i := range m.Components {
		if c := &m.Components[i]; m.Explicit(w, c) != nil {
			out = append(out, c)
		}
	}
	return out
}

// Explicit returns the included component that c belongs to: c itself or the nearest selectable component above it
// that is included; nil if c isn't in the backup. It has the properties of all members.
func (m *WriterMetadata) Explicit(w *WriterComponents, c *WMComponent) *Component {
	if k := w.Component(c.LogicalPath, c.Name); k != nil {
		return k
	}
	var nearest *Component
	for _, k := range w.Components {
		if !below(c.LogicalPath, k.FullName()) || nearest != nil && len(nearest.FullName()) > len(k.FullName()) {
			continue
		}
		if a := m.Component(k.LogicalPath, k.Name); a != nil && a.Selectable {
			nearest = k
		}
	}
	return nearest
}
