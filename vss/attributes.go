package vss

import (
	"slices"
	"strings"
)

// Attributes is a mask of what a shadow copy is (_VSS_VOLUME_SNAPSHOT_ATTRIBUTES, vss.idl); a context is a mask of the same bits.
type Attributes uint32

// Attribute bits. The comment says who may set the bit.
const (
	AttrPersistent          Attributes = 0x00000001 // context only: survives a restart
	AttrNoAutoRecovery      Attributes = 0x00000002 // requester: read-only from the start, no recovery, no exclusion of files
	AttrClientAccessible    Attributes = 0x00000004 // context only: for previous versions; never exposed
	AttrNoAutoRelease       Attributes = 0x00000008 // context only: outlives its requester
	AttrNoWriters           Attributes = 0x00000010 // context only: writers are not involved
	AttrTransportable       Attributes = 0x00000020 // requester: to be imported elsewhere, not surfaced here
	AttrNotSurfaced         Attributes = 0x00000040 // service: not exposed at present
	AttrNotTransacted       Attributes = 0x00000080 // requester: leave transaction managers out
	AttrHardwareAssisted    Attributes = 0x00010000 // service: a hardware provider made it
	AttrDifferential        Attributes = 0x00020000 // requester or provider: copy on write
	AttrPlex                Attributes = 0x00040000 // requester or provider: split mirror
	AttrImported            Attributes = 0x00080000 // service: arrived by ImportSnapshots
	AttrExposedLocally      Attributes = 0x00100000 // ExposeSnapshot: mounted at a folder
	AttrExposedRemotely     Attributes = 0x00200000 // ExposeSnapshot: shared
	AttrAutoRecover         Attributes = 0x00400000 // service: a writer recovers a component in PostSnapshot
	AttrRollbackRecovery    Attributes = 0x00800000 // requester: not for backup; writers recover for rollback
	AttrDelayedPostSnapshot Attributes = 0x01000000 // reserved
	AttrTxFRecovery         Attributes = 0x02000000 // requester: force transactional recovery
	AttrFileShare           Attributes = 0x04000000 // service: copy of a remote file share
)

// Context is what SetContext takes: one of the named contexts, with attribute bits that a requester may add.
// Source: _VSS_SNAPSHOT_CONTEXT, vss.idl.
type Context = Attributes

// The contexts.
const (
	ContextBackup                  Context = 0x00000000 // the default
	ContextFileShareBackup         Context = 0x00000010
	ContextNASRollback             Context = 0x00000019
	ContextAppRollback             Context = 0x00000009
	ContextClientAccessible        Context = 0x0000001d
	ContextClientAccessibleWriters Context = 0x0000000d
	ContextAll                     Context = 0xffffffff // administration only, never creation
)

const (
	contextBits   = AttrPersistent | AttrClientAccessible | AttrNoAutoRelease | AttrNoWriters
	requesterBits = AttrNoAutoRecovery | AttrTransportable | AttrNotTransacted | AttrDifferential | AttrPlex | AttrRollbackRecovery | AttrTxFRecovery
	methodBits    = AttrTransportable | AttrDifferential | AttrPlex
)

var contextNames = map[Context]string{
	ContextBackup:                  "backup",
	ContextFileShareBackup:         "file-share-backup",
	ContextNASRollback:             "nas-rollback",
	ContextAppRollback:             "app-rollback",
	ContextClientAccessible:        "client-accessible",
	ContextClientAccessibleWriters: "client-accessible-writers",
}

var attributeNames = []struct {
	bit  Attributes
	name string
}{
	{AttrPersistent, "persistent"},
	{AttrNoAutoRecovery, "no-auto-recovery"},
	{AttrClientAccessible, "client-accessible"},
	{AttrNoAutoRelease, "no-auto-release"},
	{AttrNoWriters, "no-writers"},
	{AttrTransportable, "transportable"},
	{AttrNotSurfaced, "not-surfaced"},
	{AttrNotTransacted, "not-transacted"},
	{AttrHardwareAssisted, "hardware-assisted"},
	{AttrDifferential, "differential"},
	{AttrPlex, "plex"},
	{AttrImported, "imported"},
	{AttrExposedLocally, "exposed-locally"},
	{AttrExposedRemotely, "exposed-remotely"},
	{AttrAutoRecover, "auto-recovered"},
	{AttrRollbackRecovery, "rollback-recovery"},
	{AttrDelayedPostSnapshot, "delayed-post-snapshot"},
	{AttrTxFRecovery, "txf-recovery"},
	{AttrFileShare, "file-share"},
}

// Has says whether all of the bits are set.
func (a Attributes) Has(bits Attributes) bool { return a&bits == bits }

// BaseContext is the context proper: the mask without what a requester or the service added.
func (a Attributes) BaseContext() Context { return a & contextBits }

// ContextName is the context's name as commands spell it, or "" for a mask that is none.
func (a Attributes) ContextName() string { return contextNames[a.BaseContext()] }

// ContextByName finds a context by the name that commands use. Errors: E_INVALIDARG.
func ContextByName(name string) (Context, error) {
	names := make([]string, 0, len(contextNames))
	for c, n := range contextNames {
		if strings.EqualFold(n, name) {
			return c, nil
		}
		names = append(names, n)
	}
	slices.Sort(names)
	return 0, E("SetContext", ErrInvalidArg, nil).On(name).Advise("contexts are " + strings.Join(names, ", "))
}

// Names are the set bits by their names, in the order of their numbers.
func (a Attributes) Names() []string {
	out := []string{}
	for _, n := range attributeNames {
		if a.Has(n.bit) {
			out = append(out, n.name)
		}
	}
	return out
}

// CheckContext says whether a requester may give this mask to SetContext. ContextAll passes: it is for administration,
// and StartSnapshotSet refuses it. Errors: E_INVALIDARG. Source: requester reference, SetContext and the bits' own entries.
func CheckContext(c Context) error {
	bad := func(why string) error { return E("SetContext", ErrInvalidArg, nil).Advise(why) }
	switch {
	case c == ContextAll:
		return nil
	case c&^(contextBits|requesterBits) != 0:
		return bad("the mask has bits that only the service sets")
	case contextNames[c.BaseContext()] == "":
		return bad("the mask holds none of the contexts")
	case c.Has(AttrClientAccessible) && c&methodBits != 0:
		return bad("a client-accessible copy can be neither transportable nor of a chosen method")
	case c.Has(AttrDifferential | AttrPlex):
		return bad("choose differential or plex, not both")
	}
	return nil
}
