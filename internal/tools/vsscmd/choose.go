package vsscmd

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/requester/filelist"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// choose adds the selected components, and those that their writers require, with the stamps of the previous backup.
func (b *backup) choose(ctx context.Context, s *requester.BackupComponents, all []requester.WriterMetadata) error {
	at := &locator{ctx: ctx, session: s, known: map[string]string{}, volumes: map[string]bool{}}
	for _, v := range b.volumes {
		root, _, err := s.GetRootAndLogicalPrefixPaths(ctx, v)
		if err != nil {
			return err
		}
		at.volumes[root] = true
	}
	for _, w := range all {
		m, err := document.ParseMetadata(w.XML)
		if err != nil {
			return vss.E("GetWriterMetadata", vss.ErrInvalidXMLDocument, err).On(w.Name).
				Advise("exclude the writer with --writer-exclude")
		}
		chosen, err := b.pick(m, at)
		if err != nil || len(chosen) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		for _, c := range chosen {
			k := requester.Component{Writer: w.ID, Instance: w.Instance, Type: c.Type.String(),
				LogicalPath: c.LogicalPath, Name: c.Name}
			if err := s.AddComponent(ctx, k); err != nil {
				return err
			}
			if stamp := b.stamp(w.ID, c); stamp != "" {
				if err := s.SetPreviousBackupStamp(ctx, k, stamp); err != nil {
					return err
				}
			}
		}
		b.chosen = append(b.chosen, w)
	}
	err := checkMatched(b.selectors, "`vss list writers` lists the writers; their metadata contain the components")
	if err != nil {
		return err
	}
	if len(b.chosen) == 0 {
		return vss.E("SelectComponents", vss.ErrObjectNotFound,
			errors.New("no writer has a component on these volumes")).
			On(strings.Join(b.volumes, ", ")).
			Advise("use `vss exec` to back up files of no writer; `vss list writers` lists the writers")
	}
	return nil
}

// pick returns the components of a writer that are backed up.
func (b *backup) pick(m *document.WriterMetadata, at *locator) ([]*document.WMComponent, error) {
	var out []*document.WMComponent
	if len(b.selectors) == 0 {
		for _, c := range m.Top() {
			here, err := at.has(m, c, m.EffectiveType(b.kind))
			if err != nil {
				return nil, err
			}
			if here {
				out = append(out, c)
			}
		}
	}
	for _, w := range b.selectors {
		for i := range m.Components {
			c := &m.Components[i]
			all, one := w.matches(m, c.FullName())
			w.matched = w.matched || all || one
			if one || all && m.Selection(c) <= document.Optional {
				out = addOnce(out, c)
			}
		}
	}
	if len(out) > 0 {
		for _, c := range m.Top() {
			if !c.Selectable {
				out = addOnce(out, c)
			}
		}
	}
	return out, nil
}

func addOnce(to []*document.WMComponent, c *document.WMComponent) []*document.WMComponent {
	for _, o := range to {
		if o == c {
			return to
		}
	}
	return append(to, c)
}

// stamp returns the stamp that the writer stored in the previous backup of the component.
func (b *backup) stamp(id vss.WriterID, c *document.WMComponent) string {
	if b.previous == nil {
		return ""
	}
	for _, w := range b.previous.Writers {
		if k := w.Component(c.LogicalPath, c.Name); k != nil && w.WriterID == id {
			return k.BackupStamp
		}
	}
	return ""
}

// locator finds out which components have files on the volumes of the set.
type locator struct {
	ctx     context.Context
	session *requester.BackupComponents
	known   map[string]string // directory -> its volume; "" if that can't be copied
	volumes map[string]bool
}

// has reports whether a component, with the members of its set, has files on the volumes that must be read from a copy.
// It also returns true if the component has no files at all, because then it doesn't depend on the volumes.
func (p *locator) has(m *document.WriterMetadata, c *document.WMComponent, t vss.BackupType) (bool, error) {
	w := &document.WriterComponents{Components: []*document.Component{{Type: c.Type, LogicalPath: c.LogicalPath,
		Name: c.Name}}}
	files := false
	for _, k := range m.Set(c) {
		files = files || len(k.FileSets()) > 0
	}
	if !files {
		return true, nil
	}
	for _, s := range filelist.New(m, w, t).Sets {
		if !s.FromCopy {
			continue
		}
		volume, err := p.volumeOf(path.Clean(s.Source))
		if err != nil {
			return false, err
		}
		if p.volumes[volume] {
			return true, nil
		}
	}
	return false, nil
}

// volumeOf returns the volume that contains a directory, or the nearest parent that exists.
func (p *locator) volumeOf(dir string) (string, error) {
	if v, ok := p.known[dir]; ok || !strings.HasPrefix(dir, "/") {
		return v, nil
	}
	v, _, err := p.session.GetRootAndLogicalPrefixPaths(p.ctx, dir)
	switch {
	case errors.Is(err, vss.ErrObjectNotFound) && dir != "/":
		v, err = p.volumeOf(path.Dir(dir))
	case errors.Is(err, vss.ErrVolumeNotSupported), errors.Is(err, vss.ErrObjectNotFound):
		v, err = "", nil
	}
	if err == nil {
		p.known[dir] = v
	}
	return v, err
}
