package vss

import (
	"slices"
	"strings"
)

// Attributes is the mask of a shadow copy's attributes (_VSS_VOLUME_SNAPSHOT_ATTRIBUTES, vss.idl); a context is a mask
// of the same bits.
type Attributes uint32

// Attribute bits. The comment names the party that sets the bit: with "context only" it is part of a context.
const (
	AttrPersistent Attributes = 0x00000001 // context only: survives a restart
	// requester: read-only from the start, without recovery and exclusion of files
	AttrNoAutoRecovery      Attributes = 0x00000002
	AttrClientAccessible    Attributes = 0x00000004 // context only: for previous versions; never exposed
	AttrNoAutoRelease       Attributes = 0x00000008 // context only: outlives its requester
	AttrNoWriters           Attributes = 0x00000010 // context only: writers don't take part
	AttrTransportable       Attributes = 0x00000020 // requester: for import on another host, not surfaced here
	AttrNotSurfaced         Attributes = 0x00000040 // service: not exposed now
	AttrNotTransacted       Attributes = 0x00000080 // requester: without transaction managers
	AttrHardwareAssisted    Attributes = 0x00010000 // service: created by a hardware provider
	AttrDifferential        Attributes = 0x00020000 // requester or provider: copy on write
	AttrPlex                Attributes = 0x00040000 // requester or provider: split mirror
	AttrImported            Attributes = 0x00080000 // service: imported by ImportSnapshots
	AttrExposedLocally      Attributes = 0x00100000 // ExposeSnapshot: mounted at a folder
	AttrExposedRemotely     Attributes = 0x00200000 // ExposeSnapshot: shared
	AttrAutoRecover         Attributes = 0x00400000 // service: a writer recovers a component in PostSnapshot
	AttrRollbackRecovery    Attributes = 0x00800000 // requester: not for backup; writers recover for rollback
	AttrDelayedPostSnapshot Attributes = 0x01000000 // reserved
	AttrTxFRecovery         Attributes = 0x02000000 // requester: force transactional recovery
	AttrFileShare           Attributes = 0x04000000 // service: copy of a remote file share
)

// Context is the argument of SetContext: one of the named contexts, with attribute bits that a requester may add.
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
	ContextAll                     Context = 0xffffffff // administration only, not for creation
)

const (
	contextBits   = AttrPersistent | AttrClientAccessible | AttrNoAutoRelease | AttrNoWriters
	requesterBits = AttrNoAutoRecovery | AttrTransportable | AttrNotTransacted | AttrDifferential | AttrPlex |
		AttrRollbackRecovery | AttrTxFRecovery
	methodBits = AttrTransportable | AttrDifferential | AttrPlex
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

// Has reports whether all of the bits are set.
func (a Attributes) Has(bits Attributes) bool { return a&bits == bits }

// BaseContext returns the context without the bits that a requester or the service added.
func (a Attributes) BaseContext() Context { return a & contextBits }

// ContextName returns the name of the context as used by commands, or "" if the mask isn't a context.
func (a Attributes) ContextName() string { return contextNames[a.BaseContext()] }

// ContextByName returns the context with a name as used by commands. Errors: E_INVALIDARG.
func ContextByName(name string) (Context, error) {
	names := make([]string, 0, len(contextNames))
	for c, n := range contextNames {
		if strings.EqualFold(n, name) {
			return c, nil
		}
		names = append(names, n)
	}
	slices.Sort(names)
	return 0, E("SetContext", ErrInvalidArg, nil).On(name).Advise("use one of " + strings.Join(names, ", "))
}

// Names returns the names of the set bits, in the order of their numbers.
func (a Attributes) Names() []string {
	out := []string{}
	for _, n := range attributeNames {
		if a.Has(n.bit) {
			out = append(out, n.name)
		}
	}
	return out
}

// CheckContext returns an error if a requester must not pass this mask to SetContext. ContextAll passes: it is for
// administration, and StartSnapshotSet rejects it. Errors: E_INVALIDARG. Source: requester reference, SetContext and
// the bits' own entries.
func CheckContext(c Context) error {
	bad := func(why string) error { return E("SetContext", ErrInvalidArg, nil).Advise(why) }
	switch {
	case c == ContextAll:
		return nil
	case c&^(contextBits|requesterBits) != 0:
		return bad("the mask has bits that only the service may set")
	case contextNames[c.BaseContext()] == "":
		return bad("the mask has no valid context")
	case c.Has(AttrClientAccessible) && c&methodBits != 0:
		return bad("a client-accessible copy can be neither transportable nor of a chosen method")
	case c.Has(AttrDifferential | AttrPlex):
		return bad("choose differential or plex, not both")
	}
	return nil
}
