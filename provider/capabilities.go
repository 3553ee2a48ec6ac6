package provider

import (
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Capability is one thing that a provider says it can do. The service makes no call that needs a capability which the
// provider doesn't claim.
type Capability string

// What a provider may claim.
const (
	CanDifferential     Capability = "differential"      // vss.AttrDifferential
	CanPlex             Capability = "plex"              // vss.AttrPlex
	CanTransport        Capability = "transportable"     // vss.AttrTransportable
	CanResync           Capability = "resync"            // ResyncLUNs
	CanRevert           Capability = "revert"            // RevertToSnapshot
	CanClientAccessible Capability = "client-accessible" // vss.AttrClientAccessible
)

// needs lists the attributes of a context that need a capability.
var needs = []struct {
	bit vss.Attributes
	c   Capability
}{
	{vss.AttrDifferential, CanDifferential},
	{vss.AttrPlex, CanPlex},
	{vss.AttrTransportable, CanTransport},
	{vss.AttrClientAccessible, CanClientAccessible},
}

// Can reports whether the provider claims a capability.
func (p Properties) Can(c Capability) bool { return slices.Contains(p.Capabilities, c) }

// Allows returns VSS_E_UNSUPPORTED_CONTEXT if the context needs a capability that the provider doesn't claim.
func (p Properties) Allows(c vss.Context) error {
	for _, n := range needs {
		if c.Has(n.bit) && !p.Can(n.c) {
			return vss.E("CheckCapabilities", vss.ErrUnsupportedContext,
				fmt.Errorf("provider %q doesn't support %s copies", p.Name, n.c)).
				On(p.ID.String()).
				Advise("choose another provider or another context; `vss list providers` lists what each supports")
		}
	}
	return nil
}

// Validate returns E_INVALIDARG if the properties are incomplete, or claim what a provider of the type can't do.
func (p Properties) Validate() error {
	fail := func(format string, args ...any) error {
		return vss.E("CheckProperties", vss.ErrInvalidArg, fmt.Errorf(format, args...)).On(p.Name).
			Advise("correct what the provider returns from Properties")
	}
	switch {
	case p.ID.IsZero():
		return fail("the provider has no id")
	case p.VersionID.IsZero():
		return fail("the provider has no version id")
	case p.Name == "" || p.Version == "":
		return fail("the provider has no name or no version")
	}
	switch p.Type {
	case vss.ProviderHardware, vss.ProviderSoftware, vss.ProviderSystem:
	default:
		return fail("unsupported provider type %s", p.Type)
	}
	for _, c := range p.Capabilities {
		only, known := capabilities[c]
		switch {
		case !known:
			return fail("unknown capability %q", c)
		case only == softwareOnly && p.Type == vss.ProviderHardware,
			only == hardwareOnly && p.Type != vss.ProviderHardware:
			return fail("a provider of type %s can't have the capability %q", p.Type, c)
		}
	}
	return nil
}

// scope is which providers may claim a capability.
type scope int

const (
	anyProvider scope = iota
	hardwareOnly
	softwareOnly
)

var capabilities = map[Capability]scope{
	CanDifferential: anyProvider, CanPlex: anyProvider, CanTransport: hardwareOnly, CanResync: hardwareOnly,
	CanRevert: softwareOnly, CanClientAccessible: anyProvider,
}
