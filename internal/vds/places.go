package vds

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/boot"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// place is where a LUN was attached. It is valid as long as the disk has this sequence number.
type place struct {
	Device   string        `json:"device"`
	Sequence uint64        `json:"sequence"`
	Address  array.Address `json:"address"`
	Bus      vss.BusType   `json:"bus,omitempty"`
}

func (p place) holds() bool { return p.Sequence != 0 && sequence(p.Device) == p.Sequence }

// placesFile is the content of the file of places. They are of one boot.
type placesFile struct {
	Boot   string              `json:"boot"`
	Places map[vss.LUNID]place `json:"places"`
}

// places records where LUNs were attached, in a file until the machine restarts: a disk that a service which died had
// attached is found again at once, also when its LUN isn't shown to this host any more.
type places struct {
	path string
	boot string

	mu        sync.Mutex
	known     map[vss.LUNID]place
	unsaved   bool
	importing map[vss.LUNID]bool // attached without partitions, until they have identities of their own
}

// openPlaces reads the file of places. If it can't be read, the initiators find the disks.
func openPlaces(dir string) *places {
	p := &places{
		path: filepath.Join(dir, "attached.json"), known: map[vss.LUNID]place{}, importing: map[vss.LUNID]bool{},
	}
	p.boot, _ = boot.ID()
	var f placesFile
	b, err := os.ReadFile(p.path)
	if err == nil && json.Unmarshal(b, &f) == nil && f.Boot == p.boot && f.Places != nil {
		p.known = f.Places
	}
	return p
}

// save writes the places, if they have changed. They needn't survive a power cut, which detaches everything.
func (p *places) save() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unsaved {
		return nil
	}
	b, err := json.Marshal(placesFile{p.boot, p.known})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(p.path), 0o700)
	}
	if err == nil {
		err = atomicfile.Replace(p.path, b)
	}
	p.unsaved = err != nil
	return err
}

// of returns the place of a LUN, and whether the LUN is there for certain.
func (p *places) of(id vss.LUNID) (place, bool) {
	p.mu.Lock()
	at, ok := p.known[id]
	p.mu.Unlock()
	return at, ok && at.holds()
}

// at returns the LUN that is attached as a device for certain.
func (p *places) at(device string) (id vss.LUNID, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range p.known {
		if at.Device == device && at.holds() {
			return id, true
		}
	}
	return vss.LUNID{}, false
}

// except returns the LUNs that have a place and aren't listed.
func (p *places) except(listed map[vss.LUNID]bool) (ids []vss.LUNID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.known {
		if !listed[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// remember records where a LUN is attached.
func (p *places) remember(x array.Mapping, device string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := (place{device, sequence(device), x.Address, x.LUN.Bus}); p.known[x.LUN.ID] != at {
		p.known[x.LUN.ID], p.unsaved = at, true
	}
}

// forget removes a LUN, and returns the device that it had.
func (p *places) forget(id vss.LUNID) (device string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	device = p.known[id].Device
	delete(p.known, id)
	delete(p.importing, id)
	p.unsaved = true
	return device
}

func (p *places) setImporting(id vss.LUNID, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.importing[id] = true
	} else {
		delete(p.importing, id)
	}
}

func (p *places) isImporting(id vss.LUNID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.importing[id]
}

// Attached reports whether a LUN is known to be a disk of this host. It doesn't search the disks of this host, which
// takes the longer the more there are.
func (m *Manager) Attached(id vss.LUNID) bool {
	_, ok := m.places.of(id)
	return ok
}

// forget removes what is known of a LUN as a disk of this host.
func (m *Manager) forget(id vss.LUNID) { m.contents.drop(m.places.forget(id)) }

// savePlaces records where LUNs are attached. A failure costs time at the next start.
func (m *Manager) savePlaces() {
	if err := m.places.save(); err != nil {
		m.cfg.Logger.Warn("attached disks could not be recorded", "path", m.places.path, "error", err)
	}
}
