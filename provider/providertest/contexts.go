package providertest

import (
	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// contextCase is a context, and whether the provider must support it.
type contextCase struct {
	name string
	c    vss.Context
	want bool
}

// contextCases returns the cases that hardware and software providers have in common.
func contextCases(p provider.Properties) []contextCase {
	return []contextCase{
		{"default method", vss.ContextBackup, true},
		{"app-rollback", vss.ContextAppRollback, true},
		{"nas-rollback", vss.ContextNASRollback, true},
		{"differential", vss.ContextAppRollback | vss.AttrDifferential, p.Can(provider.CanDifferential)},
		{"plex", vss.ContextAppRollback | vss.AttrPlex, p.Can(provider.CanPlex)},
		{"client-accessible", vss.ContextClientAccessible, p.Can(provider.CanClientAccessible)},
	}
}

// begun checks the error of BeginPrepareSnapshot with the context.
func (x contextCase) begun(t conformance.T, err error) {
	if x.want {
		wants(t, x.name+": BeginPrepareSnapshot", err, vss.OK)
		return
	}
	wants(t, x.name+": BeginPrepareSnapshot", err, vss.ErrUnsupportedContext, vss.ErrVolumeNotSupportedByProvider,
		vss.ErrInvalidArg, vss.ErrProviderVeto)
}
