package vsscmd

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// choose adds the components that are wanted, and what their writers require, with the stamps of the previous backup.
func (b *backup) choose(ctx context.Context, s *requester.BackupComponents, all []requester.WriterMetadata) error {
	at := &places{ctx: ctx, session: s, known: map[string]string{}, volumes: map[string]bool{}}
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
			return vss.E("GetWriterMetadata", vss.ErrInvalidXMLDocument, err).On(w.Name).Advise("leave the writer out with --writer-exclude")
		}
		chosen, err := b.pick(m, at)
		if err != nil || len(chosen) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		for _, c := range chosen {
			k := requester.Component{Writer: w.ID, Instance: w.Instance, Type: c.Type.String(), LogicalPath: c.LogicalPath, Name: c.Name}
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
	if err := unmet(b.wanted, "`vss list writers` shows the writers; their metadata name the components"); err != nil {
		return err
	}
	if len(b.chosen) == 0 {
		return vss.E("SelectComponents", vss.ErrObjectNotFound, errors.New("no writer has a component on these volumes")).On(strings.Join(b.volumes, ", ")).
			Advise("`vss exec` backs up files that are of no writer; `vss list writers` shows which writers there are")
	}
	return nil
}

// pick are the writer's components that are backed up.
func (b *backup) pick(m *document.WriterMetadata, at *places) ([]*document.WMComponent, error) {
	var out []*document.WMComponent
	if len(b.wanted) == 0 {
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
	for _, w := range b.wanted {
		for i := range m.Components {
			c := &m.Components[i]
			all, one := w.of(m, c.FullName())
			w.met = w.met || all || one
			if one || all && m.Selection(c) <= document.Optional {
				out = add(out, c)
			}
		}
	}
	if len(out) > 0 {
		for _, c := range m.Top() {
			if !c.Selectable {
				out = add(out, c)
			}
		}
	}
	return out, nil
}

func add(to []*document.WMComponent, c *document.WMComponent) []*document.WMComponent {
	for _, o := range to {
		if o == c {
			return to
		}
	}
	return append(to, c)
}

// stamp is what the writer left in the previous backup of the component.
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

// places says what lies on the volumes of the set.
type places struct {
	ctx     context.Context
	session *requester.BackupComponents
	known   map[string]string // folder -> volume, "" for none that could be copied
	volumes map[string]bool
}

// has says whether a component, with all that comes with it, has files on the volumes that must come from a copy, or none at
// all: then it stands for what its writer does, whatever the volumes.
func (p *places) has(m *document.WriterMetadata, c *document.WMComponent, t vss.BackupType) (bool, error) {
	w := &document.WriterComponents{Components: []*document.Component{{Type: c.Type, LogicalPath: c.LogicalPath, Name: c.Name}}}
	files := false
	for _, k := range m.Set(c) {
		files = files || len(k.FileSets()) > 0
	}
	if !files {
		return true, nil
	}
	for _, s := range m.BackupFiles(w, t).Sets {
		if !s.FromCopy {
			continue
		}
		volume, err := p.of(path.Clean(s.Source))
		if err != nil {
			return false, err
		}
		if p.volumes[volume] {
			return true, nil
		}
	}
	return false, nil
}

// of is the volume that a folder lies on; of one that isn't there, that of the nearest folder above it.
func (p *places) of(dir string) (string, error) {
	if v, ok := p.known[dir]; ok || !strings.HasPrefix(dir, "/") {
		return v, nil
	}
	v, _, err := p.session.GetRootAndLogicalPrefixPaths(p.ctx, dir)
	switch {
	case errors.Is(err, vss.ErrObjectNotFound) && dir != "/":
		v, err = p.of(path.Dir(dir))
	case errors.Is(err, vss.ErrVolumeNotSupported), errors.Is(err, vss.ErrObjectNotFound):
		v, err = "", nil
	}
	if err == nil {
		p.known[dir] = v
	}
	return v, err
}
