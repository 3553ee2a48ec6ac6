package testrequester

import (
	"fmt"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// outcome is what one call gave, as it is printed.
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
	Wanted  string   `json:"wanted,omitempty"` // what the script expected, where that is something else
}

func hresult(c vss.Code) string { return fmt.Sprintf("0x%08x", c.HRESULT()) }

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
		docs[i] = statusDoc{w.Name, w.ID, w.Instance, w.State.String(), int(w.State), w.Failure.Name(), hresult(w.Failure), w.Message, float64(w.Frozen.Microseconds()) / 1000}
	}
	return docs
}

type copyDoc struct {
	ID             vss.SnapshotID    `json:"id"`
	SetID          vss.SnapshotSetID `json:"set_id"`
	State          string            `json:"state"`
	OriginalVolume string            `json:"original_volume"`
	DeviceObject   string            `json:"device_object"`
	Path           string            `json:"path"`
	Attributes     []string          `json:"attributes"`
	Consistency    string            `json:"consistency"`
}

func copyOf(s *requester.Snapshot) copyDoc {
	return copyDoc{s.ID, s.SetID, s.State.String(), s.OriginalVolume, s.DeviceObject, s.Path, s.Attributes.Names(), s.Consistency}
}

type providerDoc struct {
	ID   vss.ProviderID `json:"id"`
	Name string         `json:"name"`
	Type string         `json:"type"`
}
