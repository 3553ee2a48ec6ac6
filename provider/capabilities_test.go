package provider

import (
	"errors"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestAllows(t *testing.T) {
	all := []Capability{CanDifferential, CanPlex, CanTransport, CanClientAccessible}
	for i, n := range needs {
		without := append(append([]Capability{}, all[:i]...), all[i+1:]...)
		c := vss.ContextAppRollback | n.bit
		if err := (Properties{Capabilities: without}).Allows(c); !errors.Is(err, vss.ErrUnsupportedContext) {
			t.Errorf("without %s: %v", n.c, err)
		}
		if err := (Properties{Capabilities: []Capability{n.c}}).Allows(c); err != nil {
			t.Errorf("with %s alone: %v", n.c, err)
		}
	}
	if err := (Properties{}).Allows(vss.ContextAppRollback); err != nil {
		t.Errorf("a context that needs nothing: %v", err)
	}
	if p := (Properties{Capabilities: []Capability{CanResync}}); !p.Can(CanResync) || p.Can(CanRevert) {
		t.Error("Can doesn't follow the list")
	}
}
