package document

import (
	"fmt"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Selection is what a requester may do with a component. Source: working with selectability for backup.
type Selection int

// Kinds of components for selection.
const (
	Required Selection = iota // not selectable, no selectable ancestor: added whenever anything of its writer is
	Optional                  // selectable, no selectable ancestor: may be added, and brings what is below it
	Nested                    // selectable below a selectable one: may be added where none of those is
	Implicit                  // not selectable below a selectable one: comes with it, is never added
)

// Selection says which kind of component this is.
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

// fullName is a component's place in the tree: the logical path of those below it.
func fullName(logicalPath, name string) string {
	if logicalPath == "" {
		return name
	}
	return logicalPath + `\` + name
}

// FullName is the component's logical path and name; the logical paths of those below it begin with it.
func (c *WMComponent) FullName() string { return fullName(c.LogicalPath, c.Name) }

// FullName is the component's logical path and name.
func (c *Component) FullName() string { return fullName(c.LogicalPath, c.Name) }

// under says whether a logical path leads through one of these components. An element of a path needn't be a component.
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

// Below says whether c lies below a in the tree of logical paths, at any depth.
func (c *WMComponent) Below(a *WMComponent) bool { return below(c.LogicalPath, a.FullName()) }

func below(logicalPath, root string) bool {
	return logicalPath == root || strings.HasPrefix(logicalPath, root+`\`)
}

// Set is a component and, if it is selectable, all that comes with it. Source: component sets.
func (m *WriterMetadata) Set(c *WMComponent) []*WMComponent {
	set := []*WMComponent{c}
	for i := range m.Components {
		if d := &m.Components[i]; c.Selectable && d.Below(c) {
			set = append(set, d)
		}
	}
	return set
}

// Top are the components that a backup of everything adds: the required ones and the optional ones.
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

// CheckAdd says whether a requester may include c when of this writer w is included already (nil: nothing).
// Errors: VSS_E_OBJECT_ALREADY_EXISTS; E_INVALIDARG for one that comes with another, or would bring one that is included.
// Source: AddComponent.
func (m *WriterMetadata) CheckAdd(w *WriterComponents, c *WMComponent) error {
	const op = "AddComponent"
	if m.Selection(c) == Implicit {
		return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("it isn't selectable and comes with the selectable one above it")).
			On(c.FullName()).Advise("add the nearest selectable component above it")
	}
	if w == nil {
		return nil
	}
	if w.Component(c.LogicalPath, c.Name) != nil {
		return vss.E(op, vss.ErrObjectAlreadyExists, fmt.Errorf("it is included already")).On(c.FullName()).Advise("add a component once")
	}
	for _, k := range w.Components {
		if a := m.Component(k.LogicalPath, k.Name); a != nil && a.Selectable && c.Below(a) {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("it comes with %s, which is included", k.FullName())).
				On(c.FullName()).Advise("leave it out; its files are backed up")
		}
		if c.Selectable && below(k.LogicalPath, c.FullName()) {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("it would bring %s, which is included", k.FullName())).
				On(c.FullName()).Advise("add either the component set as a whole or parts of it")
		}
	}
	return nil
}

// Missing are the required components that a requester still has to include, as something of this writer is.
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

// Included are all components of a backup, explicit and implicit, in the writer's order.
func (m *WriterMetadata) Included(w *WriterComponents) []*WMComponent {
	var out []*WMComponent
	for i := range m.Components {
		if c := &m.Components[i]; m.explicit(w, c) != nil {
			out = append(out, c)
		}
	}
	return out
}

// explicit is the included component that c is a member of: c itself or the nearest selectable one above it that is
// included; nil if c isn't in the backup. There the properties of all members are kept.
func (m *WriterMetadata) explicit(w *WriterComponents, c *WMComponent) *Component {
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
