package vsscmd

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester/filelist"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// item is a component that is restored, completely or in part.
type item struct {
	meta     *document.WriterMetadata
	writer   *document.WriterComponents
	explicit *document.Component
	parts    []*document.WMComponent // subcomponents to restore; none: all
	alone    bool                    // it is restored without its writer
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
			return vss.E("Load", vss.ErrObjectNotFound, err).On(f).Advise("make the documents of the backup readable")
		}
		m, err := document.ParseMetadata(text)
		if err != nil || !slices.ContainsFunc(r.backup.Writers, func(w *document.WriterComponents) bool {
			return w.WriterID == m.WriterID && w.InstanceID == m.InstanceID
		}) {
			continue // not a document of this backup
		}
		r.metadata[m.InstanceID], r.texts = m, append(r.texts, text)
	}
	return r.choose()
}

// choose determines the components to restore.
func (r *restore) choose() error {
	for _, w := range r.backup.Writers {
		m := r.metadata[w.InstanceID]
		if m == nil {
			return vss.E("Load", vss.ErrObjectNotFound,
				errors.New("the metadata of a writer of this backup are missing")).
				On(r.wm).Advise("name with --wm the directory that `vss backup --wm` wrote")
		}
		for _, k := range w.Components {
			i, err := r.item(m, w, k)
			if err != nil {
				return err
			}
			if i != nil {
				r.items = append(r.items, i)
			}
		}
	}
	err := checkMatched(r.selectors, "the Backup Components Document lists the components of the backup")
	if err != nil {
		return err
	}
	if len(r.items) == 0 {
		return vss.E("SelectComponents", vss.ErrObjectNotFound, errors.New("the backup has no component to restore")).
			Advise("see the warnings; was the backup made by `vss backup`?")
	}
	return nil
}

// item returns what is to be restored of a component that the backup includes explicitly; nil for nothing.
func (r *restore) item(
	m *document.WriterMetadata, w *document.WriterComponents, k *document.Component,
) (*item, error) {
	method := document.RestoreMethod{Method: vss.RestoreUndefined}
	if m.RestoreMethod != nil {
		method = *m.RestoreMethod
	}
	i := &item{meta: m, writer: w, explicit: k, alone: method.WriterRestore == vss.WriterRestoreNever}
	if len(r.selectors) == 0 {
		switch {
		case !k.BackupSucceeded:
			r.app.Warnf("%s of %s is not restored: its backup failed; "+
				"select it with --component to restore what was saved", k.FullName(), m.Name)
			return nil, nil
		case method.Method == vss.RestoreCustom:
			r.app.Warnf("%s of %s is not restored: its writer requires a custom restore; "+
				"select it with --component to restore its files", k.FullName(), m.Name)
			return nil, nil
		}
		return i, nil
	}
	selected := false
	for _, s := range r.selectors {
		if all, one := s.matches(m, k.FullName()); all || one {
			s.matched, selected = true, true
		}
	}
	if selected {
		return i, nil
	}
	if err := r.selectParts(i); err != nil || len(i.parts) == 0 {
		return nil, err
	}
	return i, nil
}

// selectParts adds the selected subcomponents of an item.
func (r *restore) selectParts(i *item) error {
	for _, s := range r.selectors {
		for n := range i.meta.Components {
			c := &i.meta.Components[n]
			how, above := i.meta.RestoreSelection(i.writer, c)
			if _, one := s.matches(i.meta, c.FullName()); !one || above != i.explicit {
				continue
			}
			if how != document.RestoreAsSubcomponent {
				return vss.E("SelectComponents", vss.ErrInvalidArg, errors.New("it isn't selectable for restore")).
					On(s.text).Advise("restore " + i.explicit.FullName() + ", which contains it")
			}
			s.matched = true
			i.parts = append(i.parts, c)
		}
	}
	return nil
}

// list passes the paths of the component's files to add. Errors: VSS_E_NOT_SUPPORTED if the writer requires another
// location than the original one.
func (i *item) list(now []*document.WriterComponents, t vss.BackupType, add func(string) error) error {
	w := i.writer.Clone()
	k := w.Component(i.explicit.LogicalPath, i.explicit.Name)
	for _, n := range now {
		if c := n.Component(k.LogicalPath, k.Name); c != nil && n.WriterID == w.WriterID &&
			n.InstanceID == w.InstanceID {
			k.RestoreTarget, k.DirectedTargets = c.RestoreTarget, c.DirectedTargets
		}
	}
	method := vss.RestoreUndefined
	if i.meta.RestoreMethod != nil {
		method = i.meta.RestoreMethod.Method
	}
	if k.RestoreTarget == vss.TargetAlternate || k.RestoreTarget == vss.TargetDirected ||
		method == vss.RestoreToAlternateLocation && k.RestoreTarget != vss.TargetOriginalLocation {
		return vss.E("ListFiles", vss.ErrNotSupported,
			errors.New("its writer requires that the files are restored to another location")).On(k.FullName()).
			Advise("restore this component with a program made for its writer, using package requester")
	}
	k.SelectedForRestore = true
	for _, p := range i.parts {
		k.RestoreSubcomponents = append(k.RestoreSubcomponents, document.RestoreSubcomponent{LogicalPath: p.LogicalPath,
			Name: p.Name})
	}
	members := i.meta.RestoreSet(w, k)
	for _, s := range filelist.New(i.meta, w, t).Sets {
		if s.Explicit != k || s.Member != nil && !slices.Contains(members, s.Member) || s.Member == nil &&
			len(i.parts) > 0 {
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
