package document

import (
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// RestoreSelection is how a component can be restored. Source: working with selectability for restore and subcomponents.
type RestoreSelection int

// Ways to select a component for a restore.
const (
	RestoreNotSaved       RestoreSelection = iota // the backup doesn't have it
	RestoreAlone                                  // it was included explicitly: SetSelectedForRestore, whatever its own flag says
	RestoreAsSubcomponent                         // implicit and selectable for restore: AddRestoreSubcomponent, on the explicit one
	RestoreWithAncestor                           // implicit and not selectable for restore: comes along with what is above it
)

// RestoreSelection says how c of a backup can be restored, and which explicit component is to be selected for it (nil where
// the backup doesn't have it).
func (m *WriterMetadata) RestoreSelection(w *WriterComponents, c *WMComponent) (RestoreSelection, *Component) {
	k := m.explicit(w, c)
	switch {
	case k == nil:
		return RestoreNotSaved, nil
	case k.LogicalPath == c.LogicalPath && k.Name == c.Name:
		return RestoreAlone, k
	case c.SelectableForRestore:
		return RestoreAsSubcomponent, k
	}
	return RestoreWithAncestor, k
}

// SelectForRestore selects an explicit component, or takes the selection back with its subcomponents. m is the writer's saved
// metadata; nil where only the backup components were saved. Errors: VSS_E_OBJECT_NOT_FOUND.
// Source: SetSelectedForRestore.
func (w *WriterComponents) SelectForRestore(m *WriterMetadata, t vss.ComponentType, logicalPath, name string, selected bool) error {
	const op = "SetSelectedForRestore"
	k := w.Component(logicalPath, name)
	if k == nil || k.Type != t {
		err := vss.E(op, vss.ErrObjectNotFound, errors.New("it was not included explicitly")).On(fullName(logicalPath, name))
		var how RestoreSelection
		var above *Component
		if m != nil && m.Component(logicalPath, name) != nil {
			how, above = m.RestoreSelection(w, m.Component(logicalPath, name))
		}
		switch how {
		case RestoreAsSubcomponent:
			return err.Advise(fmt.Sprintf("select %s, then add this as its restore subcomponent", above.FullName()))
		case RestoreWithAncestor:
			return err.Advise(fmt.Sprintf("select %s: this one is only restored with it", above.FullName()))
		}
		return err.Advise("the backup components document tells what was included, and of which type")
	}
	if k.SelectedForRestore = selected; !selected {
		k.RestoreSubcomponents = nil
	}
	return nil
}

// AddRestoreSubcomponent narrows the restore of an explicit component, which is selected, to a member of its set and what is
// below that. m as for SelectForRestore; without it only the logical paths are compared. Errors: VSS_E_OBJECT_NOT_FOUND,
// VSS_E_OBJECT_ALREADY_EXISTS, VSS_E_BAD_STATE before SelectForRestore, E_INVALIDARG for one not selectable for restore.
// Source: AddRestoreSubcomponent.
func (w *WriterComponents) AddRestoreSubcomponent(m *WriterMetadata, t vss.ComponentType, logicalPath, name, subPath, subName string) error {
	const op = "AddRestoreSubcomponent"
	sub := fullName(subPath, subName)
	fail := func(code vss.Code, cause, hint string) error {
		return vss.E(op, code, errors.New(cause)).On(sub).Advise(hint)
	}
	k := w.Component(logicalPath, name)
	switch {
	case k == nil || k.Type != t:
		return fail(vss.ErrObjectNotFound, fullName(logicalPath, name)+" was not included explicitly", "name the nearest component above it that was")
	case subName == "":
		return fail(vss.ErrInvalidArg, "a subcomponent has a name", "name the subcomponent")
	case !k.SelectedForRestore:
		return fail(vss.ErrBadState, k.FullName()+" isn't selected", "call SetSelectedForRestore for it first")
	case !below(subPath, k.FullName()):
		return fail(vss.ErrObjectNotFound, "it isn't below "+k.FullName(), "name a member of the component set")
	}
	for _, s := range k.RestoreSubcomponents {
		if s.LogicalPath == subPath && s.Name == subName {
			return fail(vss.ErrObjectAlreadyExists, "it is added already", "add a subcomponent once")
		}
	}
	if m != nil {
		c := m.Component(subPath, subName)
		if c == nil {
			return fail(vss.ErrObjectNotFound, "the writer's saved metadata don't have it", "load the metadata that were saved with the backup")
		}
		how, above := m.RestoreSelection(w, c)
		switch {
		case how != RestoreAsSubcomponent:
			return fail(vss.ErrInvalidArg, "it isn't selectable for restore", "restore the set as a whole, or a subcomponent above it")
		case above != k:
			return fail(vss.ErrObjectNotFound, "it came with "+above.FullName(), "name the nearest component above it that was included")
		}
	}
	k.RestoreSubcomponents = append(k.RestoreSubcomponents, RestoreSubcomponent{LogicalPath: subPath, Name: subName})
	return nil
}

// RestoreSet are the components whose files come back with an explicit component: none if it isn't selected, the whole set,
// or only its restore subcomponents with what is below them.
func (m *WriterMetadata) RestoreSet(w *WriterComponents, k *Component) []*WMComponent {
	if !k.SelectedForRestore {
		return nil
	}
	var out []*WMComponent
	for i := range m.Components {
		c := &m.Components[i]
		if m.explicit(w, c) != k {
			continue
		}
		chosen := len(k.RestoreSubcomponents) == 0
		for _, s := range k.RestoreSubcomponents {
			full := fullName(s.LogicalPath, s.Name)
			chosen = chosen || c.FullName() == full || below(c.LogicalPath, full)
		}
		if chosen {
			out = append(out, c)
		}
	}
	return out
}
