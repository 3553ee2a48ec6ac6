package vsscmd

import (
	"errors"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// selector is the value of a --component flag: WRITER, WRITER/NAME or WRITER/PATH/NAME. WRITER is an id or a name. The
// elements of PATH are separated by \, or by / if none of them contains a /.
type selector struct {
	text    string
	matched bool // it has selected something
}

func parseSelectors(texts []string) []*selector {
	var out []*selector
	for _, t := range texts {
		out = append(out, &selector{text: t})
	}
	return out
}

// matches reports whether the selector stands for all components of a writer, or for the one with the given full name.
func (w *selector) matches(m *document.WriterMetadata, fullName string) (all, one bool) {
	for _, id := range []string{m.Name, m.WriterID.String(), m.WriterID.Plain(), m.InstanceID.String(),
		m.InstanceID.Plain()} {
		if len(w.text) < len(id) || !strings.EqualFold(w.text[:len(id)], id) {
			continue
		}
		rest := w.text[len(id):]
		if rest == "" {
			return true, false
		}
		if rest, ok := strings.CutPrefix(rest, "/"); ok &&
			(rest == fullName || rest == strings.ReplaceAll(fullName, `\`, "/")) {
			return false, true
		}
	}
	return false, false
}

// checkMatched returns an error if a selector has not selected anything. Errors: VSS_E_OBJECT_NOT_FOUND.
func checkMatched(all []*selector, hint string) error {
	for _, w := range all {
		if !w.matched {
			return vss.E("SelectComponents", vss.ErrObjectNotFound, errors.New("no writer has this component")).
				On(w.text).Advise(hint)
		}
	}
	return nil
}

// componentJSON is the JSON form of a component that was backed up or restored.
type componentJSON struct {
	Writer      string       `json:"writer"`
	WriterID    vss.WriterID `json:"writer_id"`
	Type        string       `json:"type"`
	LogicalPath string       `json:"logical_path"`
	Name        string       `json:"name"`
	Succeeded   *bool        `json:"succeeded,omitempty"` // in a backup
	Stamp       string       `json:"stamp,omitempty"`     // in a backup
	Status      string       `json:"status,omitempty"`    // in a restore: none, all, failed
	Failure     string       `json:"failure,omitempty"`
}

func componentOf(w *document.WriterComponents, c *document.Component) requester.Component {
	return requester.Component{Writer: w.WriterID, Instance: w.InstanceID, Type: c.Type.String(),
		LogicalPath: c.LogicalPath, Name: c.Name}
}

func componentShape(writer string, w *document.WriterComponents, c *document.Component) componentJSON {
	return componentJSON{Writer: writer, WriterID: w.WriterID, Type: c.Type.String(), LogicalPath: c.LogicalPath,
		Name: c.Name}
}
