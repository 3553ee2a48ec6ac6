package writerset

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ComponentName names a component of the document by its writer's class, in which logical path and name should be
// unique. Where several instances of the class have the component, it is the one of Instance, or of the first if that
// is zero.
type ComponentName struct {
	Writer            vss.WriterID
	Type              vss.ComponentType
	LogicalPath, Name string
	Instance          vss.WriterInstanceID
}

// find returns a component of the document and its writer. Errors: VSS_E_OBJECT_NOT_FOUND.
func (s *Set) find(op string, n ComponentName) (w components, c *document.Component, err error) {
	for _, entry := range s.doc.Writers {
		if entry.WriterID != n.Writer {
			continue
		}
		k := entry.Component(n.LogicalPath, n.Name)
		if k != nil && k.Type == n.Type && (c == nil || entry.InstanceID == n.Instance) {
			w, c = entry, k
		}
	}
	if c != nil {
		return w, c, nil
	}
	return nil, nil, vss.E(op, vss.ErrObjectNotFound, errors.New("the document does not have the component")).
		On(strings.TrimPrefix(n.LogicalPath+`\`+n.Name, `\`)).
		Advise("GetWriterComponents lists its components and their types")
}

// AddComponent includes a component in the backup. Errors: VSS_E_BAD_STATE before Gather, VSS_E_OBJECT_NOT_FOUND,
// VSS_E_OBJECT_ALREADY_EXISTS, E_INVALIDARG for a component that is included only with another one.
func (s *Set) AddComponent(instance vss.WriterInstanceID, class vss.WriterID, t vss.ComponentType,
	logicalPath, name string) error {
	const op = "AddComponent"
	if err := s.needGathered(op); err != nil {
		return err
	}
	p := s.participant(class, instance)
	if p == nil {
		return vss.E(op, vss.ErrObjectNotFound, errors.New("the writer is not in this session")).
			On(class.String()).Advise("GetWriterMetadata lists the writers of the session")
	}
	c := p.meta.Component(logicalPath, name)
	if c == nil || c.Type != t {
		return vss.E(op, vss.ErrObjectNotFound, nil).On(logicalPath + `\` + name).
			Advise("GetWriterMetadata lists the writer's components")
	}
	w := s.doc.Writer(class, instance)
	if err := p.meta.CheckAdd(w, c); err != nil {
		return err
	}
	if w == nil {
		w = p.entry(p.meta.BackupSchema)
		s.doc.Writers = append(s.doc.Writers, w)
	}
	w.Components = append(w.Components, &document.Component{Type: t, LogicalPath: logicalPath, Name: name})
	return nil
}

// CheckComponents returns an error if a backup must not begin with the components as they are: VSS_E_BAD_STATE before
// Gather and while a component is missing that its writer requires.
func (s *Set) CheckComponents() error {
	const op = "PrepareForBackup"
	if err := s.needGathered(op); err != nil {
		return err
	}
	for _, p := range s.all {
		if missing := p.meta.Missing(s.doc.Writer(p.Info.ID, p.ID)); len(missing) > 0 {
			cause := fmt.Errorf("writer %s requires the component in every backup of its data", p.Info.Name)
			return vss.E(op, vss.ErrBadState, cause).On(missing[0].FullName()).
				Advise("add it with AddComponent: it is not selectable and belongs to every backup of this writer")
		}
	}
	return nil
}

// SetBackupSucceeded records whether the backup of a component succeeded. Errors: VSS_E_OBJECT_NOT_FOUND, also if the
// component is that of another instance.
func (s *Set) SetBackupSucceeded(n ComponentName, succeeded bool) error {
	const op = "SetBackupSucceeded"
	w, c, err := s.find(op, n)
	if err == nil && !n.Instance.IsZero() && w.InstanceID != n.Instance {
		cause := errors.New("the writer's instance has no such component in the backup")
		err = vss.E(op, vss.ErrObjectNotFound, cause).On(c.FullName()).Advise("include it with AddComponent")
	}
	if err == nil {
		c.BackupSucceeded = succeeded
	}
	return err
}

// SetBackupOptions records the requester's wishes for a component, in a form that its writer defines. Errors:
// VSS_E_OBJECT_NOT_FOUND.
func (s *Set) SetBackupOptions(n ComponentName, options string) error {
	_, c, err := s.find("SetBackupOptions", n)
	if err == nil {
		c.BackupOptions = options
	}
	return err
}

// SetPreviousBackupStamp records the stamp of the backup that this one is based on, as the writer set it there. In a
// restore the component must be one that change allows. Errors: VSS_E_OBJECT_NOT_FOUND.
func (s *Set) SetPreviousBackupStamp(n ComponentName, stamp string) error {
	const op = "SetPreviousBackupStamp"
	if s.restoring {
		return s.choose(op, n, func(_ *document.WriterComponents, c *document.Component) error {
			c.PreviousBackupStamp = stamp
			return nil
		})
	}
	_, c, err := s.find(op, n)
	if err == nil {
		c.PreviousBackupStamp = stamp
	}
	return err
}

// Components returns copies of the writers' entries in the document, with what the writers changed in them.
func (s *Set) Components() []*document.WriterComponents {
	var out []*document.WriterComponents
	for _, w := range s.doc.Writers {
		out = append(out, w.Clone())
	}
	return out
}
