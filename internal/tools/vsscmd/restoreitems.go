package vsscmd

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// item is a component that is restored, as a whole or a part of it.
type item struct {
	meta     *document.WriterMetadata
	writer   *document.WriterComponents
	explicit *document.Component
	parts    []*document.WMComponent // restore subcomponents; none: the whole set
	alone    bool                    // no writer takes part in it
}

// load reads the documents. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_INVALID_XML_DOCUMENT.
func (r *restore) load(bc string) error {
	var err error
	if r.backup, err = readComponents(bc); err != nil {
		return err
	}
	if r.document, err = os.ReadFile(bc); err != nil {
		return vss.E("Load", vss.ErrObjectNotFound, err).On(bc)
	}
	if r.wm == "" {
		r.wm = filepath.Dir(bc)
	}
	files, err := filepath.Glob(filepath.Join(r.wm, "*.xml"))
	if err != nil {
		return vss.E("Load", vss.ErrInvalidArg, err).On(r.wm)
	}
	r.metadata = map[vss.WriterInstanceID]*document.WriterMetadata{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return vss.E("Load", vss.ErrObjectNotFound, err).On(f).Advise("the documents of a backup must be readable")
		}
		m, err := document.ParseMetadata(text)
		if err != nil || !slices.ContainsFunc(r.backup.Writers, func(w *document.WriterComponents) bool {
			return w.WriterID == m.WriterID && w.InstanceID == m.InstanceID
		}) {
			continue // another document, or of another backup
		}
		r.metadata[m.InstanceID], r.texts = m, append(r.texts, text)
	}
	return r.choose()
}

// choose finds the components to restore.
func (r *restore) choose() error {
	for _, w := range r.backup.Writers {
		m := r.metadata[w.InstanceID]
		if m == nil {
			return vss.E("Load", vss.ErrObjectNotFound, errors.New("the metadata of a writer of this backup aren't there")).On(r.wm).
				Advise("name the folder with --wm: the one that `vss backup --wm` wrote")
		}
		method := document.RestoreMethod{Method: vss.RestoreUndefined}
		if m.RestoreMethod != nil {
			method = *m.RestoreMethod
		}
		for _, k := range w.Components {
			i := &item{meta: m, writer: w, explicit: k, alone: method.WriterRestore == vss.WriterRestoreNever}
			take := len(r.wanted) == 0 && k.BackupSucceeded && method.Method != vss.RestoreCustom
			if len(r.wanted) == 0 && !take {
				r.app.warn("%s of %s is left out: %s", k.FullName(), m.Name, map[bool]string{true: "its writer has a procedure of its own; name it with --component to restore its files",
					false: "its backup failed; name it with --component to restore what there is"}[k.BackupSucceeded])
			}
			for _, wish := range r.wanted {
				all, one := wish.of(m, k.FullName())
				if all || one {
					wish.met, take = true, true
				}
			}
			if take {
				r.items = append(r.items, i)
				continue
			}
			for _, wish := range r.wanted {
				for n := range m.Components {
					c := &m.Components[n]
					how, above := m.RestoreSelection(w, c)
					if _, one := wish.of(m, c.FullName()); !one || above != k {
						continue
					}
					if how != document.RestoreAsSubcomponent {
						return vss.E("SelectComponents", vss.ErrInvalidArg, errors.New("it isn't selectable for restore")).On(wish.text).
							Advise("restore " + k.FullName() + ", which it comes with")
					}
					wish.met = true
					i.parts = append(i.parts, c)
				}
			}
			if len(i.parts) > 0 {
				r.items = append(r.items, i)
			}
		}
	}
	if err := unmet(r.wanted, "the Backup Components Document names what was backed up"); err != nil {
		return err
	}
	if len(r.items) == 0 {
		return vss.E("SelectComponents", vss.ErrObjectNotFound, errors.New("the backup has no component to restore")).Advise("see the warnings; was it made by `vss backup`?")
	}
	return nil
}

// list names what belongs to the component, where it belongs. Errors: VSS_E_NOT_SUPPORTED where the writer wants it elsewhere.
func (i *item) list(now []*document.WriterComponents, t vss.BackupType, add func(string) error) error {
	w := i.writer.Clone()
	k := w.Component(i.explicit.LogicalPath, i.explicit.Name)
	for _, n := range now {
		if c := n.Component(k.LogicalPath, k.Name); c != nil && n.WriterID == w.WriterID && n.InstanceID == w.InstanceID {
			k.RestoreTarget, k.DirectedTargets = c.RestoreTarget, c.DirectedTargets
		}
	}
	method := vss.RestoreUndefined
	if i.meta.RestoreMethod != nil {
		method = i.meta.RestoreMethod.Method
	}
	if k.RestoreTarget == vss.TargetAlternate || k.RestoreTarget == vss.TargetDirected || method == vss.RestoreToAlternateLocation && k.RestoreTarget != vss.TargetOriginalLocation {
		return vss.E("ListFiles", vss.ErrNotSupported, errors.New("its writer wants the files elsewhere than they came from")).On(k.FullName()).
			Advise("restore this component with a program that knows its writer, by package requester")
	}
	k.SelectedForRestore = true
	for _, p := range i.parts {
		k.RestoreSubcomponents = append(k.RestoreSubcomponents, document.RestoreSubcomponent{LogicalPath: p.LogicalPath, Name: p.Name})
	}
	members := i.meta.RestoreSet(w, k)
	for _, s := range i.meta.BackupFiles(w, t).Sets {
		if s.Explicit != k || s.Member != nil && !slices.Contains(members, s.Member) || s.Member == nil && len(i.parts) > 0 {
			continue
		}
		p := path.Join(s.Path, s.FileSpec)
		if s.Recursive && s.FileSpec == "*" {
			p = path.Clean(s.Path)
		}
		if err := add(p); err != nil {
			return err
		}
	}
	return nil
}
