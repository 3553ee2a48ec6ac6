package vss

import (
	"bytes"
	"slices"
)

// LUNInformation describes a LUN so that any host of the storage network can recognise it (VDS_LUN_INFORMATION,
// vdslun.h). It is part of the Backup Components Document.
type LUNInformation struct {
	Version            uint32 // always 1
	DeviceType         uint8  // from the standard inquiry
	DeviceTypeModifier uint8
	CommandQueueing    bool
	BusType            BusType // not compared on import
	VendorID           string
	ProductID          string
	ProductRevision    string
	SerialNumber       string // page 0x80
	DiskSignature      GUID   // not compared; providers leave it zero
	DeviceIDs          []StorageIdentifier
	Interconnects      []Interconnect // never edited by providers
}

// BusType is the type of a disk's connection (VDS_STORAGE_BUS_TYPE).
type BusType int32

// Bus types.
const (
	BusUnknown           BusType = 0
	BusSCSI              BusType = 1
	BusATAPI             BusType = 2
	BusATA               BusType = 3
	Bus1394              BusType = 4
	BusSSA               BusType = 5
	BusFibre             BusType = 6
	BusUSB               BusType = 7
	BusRAID              BusType = 8
	BusISCSI             BusType = 9
	BusSAS               BusType = 0xa
	BusSATA              BusType = 0xb
	BusSD                BusType = 0xc
	BusMMC               BusType = 0xd
	BusVirtual           BusType = 0xe
	BusFileBackedVirtual BusType = 0xf
	BusSpaces            BusType = 0x10
	BusNVMe              BusType = 0x11
	BusSCM               BusType = 0x12
	BusUFS               BusType = 0x13
)

// StorageIdentifier is one designator of inquiry page 0x83 with association 0 (the logical unit itself).
type StorageIdentifier struct {
	CodeSet CodeSet
	Type    IdentifierType
	ID      []byte
}

// CodeSet is the encoding of a designator's bytes (VDS_STORAGE_IDENTIFIER_CODE_SET).
type CodeSet int32

// Code sets.
const (
	CodeSetBinary CodeSet = 1
	CodeSetASCII  CodeSet = 2
	CodeSetUTF8   CodeSet = 3
)

// IdentifierType is the kind of a designator (VDS_STORAGE_IDENTIFIER_TYPE).
type IdentifierType int32

// Kinds of designators.
const (
	IdentifierVendorSpecific IdentifierType = 0
	IdentifierT10Vendor      IdentifierType = 1
	IdentifierEUI64          IdentifierType = 2
	IdentifierNAA            IdentifierType = 3
	IdentifierPortRelative   IdentifierType = 4
	IdentifierTargetPort     IdentifierType = 5
	IdentifierLUGroup        IdentifierType = 6
	IdentifierMD5LU          IdentifierType = 7
	IdentifierSCSIName       IdentifierType = 8
)

// Interconnect is one address of a LUN (VDS_INTERCONNECT).
type Interconnect struct {
	Type    InterconnectType
	Port    []byte
	Address []byte
}

// InterconnectType is the kind of an address (VDS_INTERCONNECT_ADDRESS_TYPE).
type InterconnectType int32

// Kinds of addresses.
const (
	InterconnectUnknown InterconnectType = 0
	InterconnectFCFS    InterconnectType = 1 // first come, first served
	InterconnectFCPH    InterconnectType = 2
	InterconnectFCPH3   InterconnectType = 3
	InterconnectMAC     InterconnectType = 4
	InterconnectSCSI    InterconnectType = 5
)

// Matches reports whether two descriptions are of the same LUN. Bus type, signature and interconnects are not
// compared.
// Source: GetTargetLuns, FillInLunInfo.
func (l *LUNInformation) Matches(o *LUNInformation) bool {
	return l.Version == o.Version && l.DeviceType == o.DeviceType && l.DeviceTypeModifier == o.DeviceTypeModifier &&
		l.CommandQueueing == o.CommandQueueing && l.VendorID == o.VendorID && l.ProductID == o.ProductID &&
		l.ProductRevision == o.ProductRevision && l.SerialNumber == o.SerialNumber &&
		slices.EqualFunc(l.DeviceIDs, o.DeviceIDs, func(a, b StorageIdentifier) bool {
			return a.CodeSet == b.CodeSet && a.Type == b.Type && bytes.Equal(a.ID, b.ID)
		})
}

// SameLUN reports whether the two share a designator that is unique to one LUN (types 1, 2, 3 and 8).
func (l *LUNInformation) SameLUN(o *LUNInformation) bool {
	for _, a := range l.DeviceIDs {
		if !a.Type.Unique() || len(a.ID) == 0 {
			continue
		}
		for _, b := range o.DeviceIDs {
			if a.Type == b.Type && bytes.Equal(a.ID, b.ID) {
				return true
			}
		}
	}
	return false
}

// Unique reports whether designators of this type identify one LUN worldwide.
func (t IdentifierType) Unique() bool {
	return t == IdentifierT10Vendor || t == IdentifierEUI64 || t == IdentifierNAA || t == IdentifierSCSIName
}

// Extent is a range of one LUN that a volume occupies.
type Extent struct {
	LUN    int   // index into the volume's LUN list
	Start  int64 // bytes from the start of the LUN
	Length int64 // bytes
}

// DiskFlags are the four flags of a shadow copy's partitions on disk (GPT attribute bits 60 to 63; an MBR disk has
// them once for the disk). Source: PARTITION_INFORMATION_GPT, IVdsVolume::SetFlags.
type DiskFlags uint8

// Flags of a partition.
const (
	FlagReadOnly    DiskFlags = 1 << iota // GPT bit 60
	FlagShadowCopy                        // GPT bit 61
	FlagHidden                            // GPT bit 62
	FlagNoAutoMount                       // GPT bit 63 (no drive letter)

	FlagsShadowCopy = FlagReadOnly | FlagShadowCopy | FlagHidden | FlagNoAutoMount
)

// Names returns the names of the set flags as printed by commands.
func (f DiskFlags) Names() []string {
	out := []string{}
	for _, n := range []struct {
		bit  DiskFlags
		name string
	}{{FlagReadOnly, "read-only"}, {FlagHidden, "hidden"}, {FlagNoAutoMount, "no-auto-mount"},
		{FlagShadowCopy, "shadow-copy"}} {
		if f&n.bit != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// DiskFlagByName returns the flag with a name. Errors: E_INVALIDARG.
func DiskFlagByName(s string) (DiskFlags, error) {
	for f := FlagReadOnly; f <= FlagNoAutoMount; f <<= 1 {
		if f.Names()[0] == s {
			return f, nil
		}
	}
	return 0, E("SetFlags", ErrInvalidArg, nil).On(s).Advise("use read-only, hidden, no-auto-mount or shadow-copy")
}
