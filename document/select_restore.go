package document

import (
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// RestoreSelection is the way in which a component can be restored. Source: working with selectability for restore and
// subcomponents.
type RestoreSelection int

// Ways to select a component for a restore.
const (
	RestoreNotSaved RestoreSelection = iota // not in the backup
	// included explicitly: SetSelectedForRestore, regardless of its own flag
	RestoreAlone
	// implicit and selectable for restore: AddRestoreSubcomponent for the explicit one
	RestoreAsSubcomponent
	// implicit and not selectable for restore: restored with the component above it
	RestoreWithAncestor
)

// RestoreSelection returns the way in which c can be restored, and the explicit component to select for it; nil if the
// backup doesn't have c.
func (m *WriterMetadata) RestoreSelection(w *WriterComponents, c *WMComponent) (RestoreSelection, *Component) {
	k := m.Explicit(w, c)
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

// SelectForRestore selects an explicit component, or deselects it with its subcomponents. m is the writer's saved
// metadata; nil if only the backup components were saved. Errors: VSS_E_OBJECT_NOT_FOUND.
// Source: SetSelectedForRestore.
func (w *WriterComponents) SelectForRestore(
	m *WriterMetadata,
	t vss.ComponentType,
	logicalPath, name string,
	selected bool,
) error {
	const op = "SetSelectedForRestore"
	k := w.Component(logicalPath, name)
	if k == nil || k.Type != t {
		err := vss.E(op, vss.ErrObjectNotFound, errors.New("not included explicitly")).On(fullName(logicalPath, name))
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
		return err.Advise("see the Backup Components Document for the included components and their types")
	}
	if k.SelectedForRestore = selected; !selected {
		k.RestoreSubcomponents = nil
	}
	return nil
}

// AddRestoreSubcomponent restricts the restore of a selected explicit component to a member of its set and what is
// below that. m is as for SelectForRestore; without it only the logical paths are compared. Errors:
// VSS_E_OBJECT_NOT_FOUND, VSS_E_OBJECT_ALREADY_EXISTS, VSS_E_BAD_STATE before SelectForRestore, E_INVALIDARG for a
// component that isn't selectable for restore.
// Source: AddRestoreSubcomponent.
func (w *WriterComponents) AddRestoreSubcomponent(
	m *WriterMetadata,
	t vss.ComponentType,
	logicalPath, name, subPath, subName string,
) error {
	const op = "AddRestoreSubcomponent"
	sub := fullName(subPath, subName)
	fail := func(code vss.Code, cause, hint string) error {
		return vss.E(op, code, errors.New(cause)).On(sub).Advise(hint)
	}
	k := w.Component(logicalPath, name)
	switch {
	case k == nil || k.Type != t:
		return fail(
			vss.ErrObjectNotFound,
			fullName(logicalPath, name)+" was not included explicitly",
			"name the nearest component above it that was",
		)
	case subName == "":
		return fail(vss.ErrInvalidArg, "the name of the subcomponent is empty", "name the subcomponent")
	case !k.SelectedForRestore:
		return fail(vss.ErrBadState, k.FullName()+" isn't selected", "call SetSelectedForRestore for it first")
	case !below(subPath, k.FullName()):
		return fail(vss.ErrObjectNotFound, "it isn't below "+k.FullName(), "name a member of the component set")
	}
	for _, s := range k.RestoreSubcomponents {
		if s.LogicalPath == subPath && s.Name == subName {
			return fail(vss.ErrObjectAlreadyExists, "already added", "add each subcomponent only once")
		}
	}
	if m != nil {
		c := m.Component(subPath, subName)
		if c == nil {
			return fail(
				vss.ErrObjectNotFound,
				"the writer's saved metadata don't have it",
				"load the metadata that were saved with the backup",
			)
		}
		how, above := m.RestoreSelection(w, c)
		switch {
		case how != RestoreAsSubcomponent:
			return fail(
				vss.ErrInvalidArg,
				"it isn't selectable for restore",
				"restore the complete set, or a subcomponent above it",
			)
		case above != k:
			return fail(
				vss.ErrObjectNotFound,
				"it was included with "+above.FullName(),
				"name the nearest component above it that was included",
			)
		}
	}
	k.RestoreSubcomponents = append(k.RestoreSubcomponents, RestoreSubcomponent{LogicalPath: subPath, Name: subName})
	return nil
}

// RestoreSet returns the components whose files are restored with an explicit component: none if it isn't selected,
// otherwise the complete set, or its restore subcomponents with what is below them.
func (m *WriterMetadata) RestoreSet(w *WriterComponents, k *Component) []*WMComponent {
	if !k.SelectedForRestore {
		return nil
	}
	var out []*WMComponent
	for i := range m.Components {
		c := &m.Components[i]
		if m.Explicit(w, c) != k {
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
