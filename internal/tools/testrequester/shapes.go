package testrequester

import (
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// outcome is the result of one call, as it is printed.
type outcome struct {
	Line    int      `json:"line"`
	Call    string   `json:"call"`
	Args    []string `json:"args,omitempty"`
	Result  string   `json:"result"`
	HRESULT string   `json:"hresult"`
	Value   any      `json:"value,omitempty"`
	Message string   `json:"message,omitempty"`
	Hint    string   `json:"hint,omitempty"`
	Millis  float64  `json:"ms"`
	Wanted  string   `json:"wanted,omitempty"` // the result that the script expects, if it is another one
}

type metadataDoc struct {
	Name       string               `json:"name"`
	ID         vss.WriterID         `json:"id"`
	Instance   vss.WriterInstanceID `json:"instance_id"`
	Components []componentDoc       `json:"components"`
}

type componentDoc struct {
	Type        string `json:"type"`
	LogicalPath string `json:"logical_path"`
	Name        string `json:"name"`
	Selectable  bool   `json:"selectable"`
}

func metadataDocs(all []requester.WriterMetadata) []metadataDoc {
	docs := make([]metadataDoc, len(all))
	for i, w := range all {
		docs[i] = metadataDoc{Name: w.Name, ID: w.ID, Instance: w.Instance, Components: []componentDoc{}}
		for _, c := range w.Components {
			docs[i].Components = append(docs[i].Components, componentDoc{c.Type, c.LogicalPath, c.Name, c.Selectable})
		}
	}
	return docs
}

type statusDoc struct {
	Name      string               `json:"name"`
	ID        vss.WriterID         `json:"id"`
	Instance  vss.WriterInstanceID `json:"instance_id"`
	State     string               `json:"state"`
	StateCode int                  `json:"state_code"`
	Failure   string               `json:"failure"`
	Code      string               `json:"failure_code"`
	Message   string               `json:"message,omitempty"`
	FrozenMS  float64              `json:"frozen_ms"`
}

func statusDocs(all []requester.WriterStatus) []statusDoc {
	docs := make([]statusDoc, len(all))
	for i, w := range all {
		docs[i] = statusDoc{
			w.Name, w.ID, w.Instance, w.State.String(), int(w.State), w.Failure.Name(), cli.HRESULT(w.Failure),
			w.Message, float64(w.Frozen.Microseconds()) / 1000,
		}
	}
	return docs
}
