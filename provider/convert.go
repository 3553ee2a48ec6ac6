package provider

import (
	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// parser reads identifiers of a message from outside and keeps the first that isn't one.
type parser struct{ err error }

func (p *parser) guid(s string) vss.GUID {
	var g vss.GUID
	if err := g.UnmarshalText([]byte(s)); err != nil && p.err == nil {
		p.err = err
	}
	return g
}

func (p *parser) set(s string) vss.SnapshotSetID   { return vss.SnapshotSetID{GUID: p.guid(s)} }
func (p *parser) snapshot(s string) vss.SnapshotID { return vss.SnapshotID{GUID: p.guid(s)} }

// badMessage returns E_INVALIDARG for a message that breaks the protocol.
func badMessage(op, why string) error {
	return vss.E(op, vss.ErrInvalidArg, nil).Advise(why)
}

func lunOut(l *vss.LUNInformation) *vssv1.LunInformation {
	o := &vssv1.LunInformation{
		Version: l.Version, DeviceType: uint32(l.DeviceType), DeviceTypeModifier: uint32(l.DeviceTypeModifier),
		CommandQueueing: l.CommandQueueing, BusType: int32(l.BusType), VendorId: l.VendorID, ProductId: l.ProductID,
		ProductRevision: l.ProductRevision, SerialNumber: l.SerialNumber, DiskSignature: l.DiskSignature.String(),
	}
	for _, d := range l.DeviceIDs {
		o.DeviceIds = append(
			o.DeviceIds,
			&vssv1.LunIdentifier{CodeSet: int32(d.CodeSet), Type: int32(d.Type), Id: d.ID},
		)
	}
	for _, i := range l.Interconnects {
		o.Interconnects = append(
			o.Interconnects,
			&vssv1.LunInterconnect{Type: int32(i.Type), Port: i.Port, Address: i.Address},
		)
	}
	return o
}

func lunsOut(luns []vss.LUNInformation) []*vssv1.LunInformation {
	var out []*vssv1.LunInformation
	for i := range luns {
		out = append(out, lunOut(&luns[i]))
	}
	return out
}

func (p *parser) lun(l *vssv1.LunInformation) vss.LUNInformation {
	if p.err == nil && (l == nil || l.GetDeviceType() > 255 || l.GetDeviceTypeModifier() > 255) {
		p.err = badMessage("LunInformation", "a LUN's description is missing or out of range")
	}
	o := vss.LUNInformation{
		Version: l.GetVersion(), DeviceType: uint8(l.GetDeviceType()),
		DeviceTypeModifier: uint8(l.GetDeviceTypeModifier()),
		CommandQueueing:    l.GetCommandQueueing(), BusType: vss.BusType(l.GetBusType()), VendorID: l.GetVendorId(),
		ProductID: l.GetProductId(), ProductRevision: l.GetProductRevision(), SerialNumber: l.GetSerialNumber(),
		DiskSignature: p.guid(l.GetDiskSignature()),
	}
	for _, d := range l.GetDeviceIds() {
		o.DeviceIDs = append(
			o.DeviceIDs,
			vss.StorageIdentifier{
				CodeSet: vss.CodeSet(d.GetCodeSet()),
				Type:    vss.IdentifierType(d.GetType()),
				ID:      d.GetId(),
			},
		)
	}
	for _, i := range l.GetInterconnects() {
		o.Interconnects = append(
			o.Interconnects,
			vss.Interconnect{Type: vss.InterconnectType(i.GetType()), Port: i.GetPort(), Address: i.GetAddress()},
		)
	}
	return o
}

func (p *parser) luns(luns []*vssv1.LunInformation) []vss.LUNInformation {
	var out []vss.LUNInformation
	for _, l := range luns {
		out = append(out, p.lun(l))
	}
	return out
}

func propertiesOut(p Properties) *vssv1.ProviderProperties {
	o := &vssv1.ProviderProperties{
		Id:        p.ID.String(),
		Name:      p.Name,
		Type:      int32(p.Type),
		Version:   p.Version,
		VersionId: p.VersionID.String(),
	}
	for _, c := range p.Capabilities {
		o.Capabilities = append(o.Capabilities, string(c))
	}
	return o
}

func (p *parser) properties(m *vssv1.ProviderProperties) Properties {
	o := Properties{
		ID:        vss.ProviderID{GUID: p.guid(m.GetId())},
		Name:      m.GetName(),
		Type:      vss.ProviderType(m.GetType()),
		Version:   m.GetVersion(),
		VersionID: p.guid(m.GetVersionId()),
	}
	for _, c := range m.GetCapabilities() {
		o.Capabilities = append(o.Capabilities, Capability(c))
	}
	return o
}
