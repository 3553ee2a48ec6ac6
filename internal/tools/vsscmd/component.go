package vsscmd

import (
	"errors"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// wish is a --component: WRITER, WRITER/NAME or WRITER/PATH/NAME. The writer is an id or a name; elements of the logical path
// are separated by \, or / where no name has one.
type wish struct {
	text string
	met  bool
}

func wishes(texts []string) []*wish {
	var out []*wish
	for _, t := range texts {
		out = append(out, &wish{text: t})
	}
	return out
}

// of says whether it means all of a writer, or a component by this full name.
func (w *wish) of(m *document.WriterMetadata, fullName string) (all, one bool) {
	for _, id := range []string{m.Name, m.WriterID.String(), m.WriterID.Plain(), m.InstanceID.String(), m.InstanceID.Plain()} {
		if len(w.text) < len(id) || !strings.EqualFold(w.text[:len(id)], id) {
			continue
		}
		rest := w.text[len(id):]
		if rest == "" {
			return true, false
		}
		if rest, ok := strings.CutPrefix(rest, "/"); ok && (rest == fullName || rest == strings.ReplaceAll(fullName, `\`, "/")) {
			return false, true
		}
	}
	return false, false
}

// unmet is the failure of a wish that nothing fits. Errors: VSS_E_OBJECT_NOT_FOUND.
func unmet(all []*wish, hint string) error {
	for _, w := range all {
		if !w.met {
			return vss.E("SelectComponents", vss.ErrObjectNotFound, errors.New("no writer has such a component")).On(w.text).Advise(hint)
		}
	}
	return nil
}

// componentJSON is a component that was backed up or restored.
type componentJSON struct {
	Writer      string       `json:"writer"`
	WriterID    vss.WriterID `json:"writer_id"`
	Type        string       `json:"type"`
	LogicalPath string       `json:"logical_path"`
	Name        string       `json:"name"`
	Succeeded   *bool        `json:"succeeded,omitempty"` // of a backup
	Stamp       string       `json:"stamp,omitempty"`     // of a backup
	Status      string       `json:"status,omitempty"`    // of a restore: none, all, failed
	Failure     string       `json:"failure,omitempty"`
}

func componentOf(w *document.WriterComponents, c *document.Component) requester.Component {
	return requester.Component{Writer: w.WriterID, Instance: w.InstanceID, Type: c.Type.String(), LogicalPath: c.LogicalPath, Name: c.Name}
}

func componentShape(writer string, w *document.WriterComponents, c *document.Component) componentJSON {
	return componentJSON{Writer: writer, WriterID: w.WriterID, Type: c.Type.String(), LogicalPath: c.LogicalPath, Name: c.Name}
}
