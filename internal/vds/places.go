package vds

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/boot"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// place is where a LUN was attached. It holds as long as the disk has this sequence number.
type place struct {
	Device   string        `json:"device"`
	Sequence uint64        `json:"sequence"`
	Address  array.Address `json:"address"`
	Bus      vss.BusType   `json:"bus,omitempty"`
}

func (p place) holds() bool { return p.Sequence != 0 && sequence(p.Device) == p.Sequence }

// placesFile remembers, until the machine starts anew, what was attached where: a disk that a service which died had
// attached is found again at once, also when its LUN isn't shown to this host any more.
type placesFile struct {
	Boot   string              `json:"boot"`
	Places map[vss.LUNID]place `json:"places"`
}

func (m *Manager) placesPath() string { return filepath.Join(m.cfg.StateDir, "attached.json") }

func bootID() string {
	id, _ := boot.ID()
	return id
}

// loadPlaces reads what was attached. What can't be read is found anew by the initiators.
func (m *Manager) loadPlaces() {
	b, err := os.ReadFile(m.placesPath())
	if err != nil {
		return
	}
	var f placesFile
	if json.Unmarshal(b, &f) == nil && f.Boot == bootID() && f.Places != nil {
		m.places = f.Places
	}
}

// savePlaces writes what is attached. It needn't survive a power cut, which detaches everything.
func (m *Manager) savePlaces() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.unsaved {
		return
	}
	b, err := json.Marshal(placesFile{bootID(), m.places})
	if err == nil {
		err = os.MkdirAll(m.cfg.StateDir, 0o700)
	}
	if err == nil {
		err = atomicfile.Replace(m.placesPath(), b)
	}
	if err != nil {
		m.cfg.Logger.Warn("what is attached could not be recorded", "path", m.placesPath(), "error", err)
		return
	}
	m.unsaved = false
}

// placeOf is where a LUN is, as far as that is known for sure.
func (m *Manager) placeOf(id vss.LUNID) (place, bool) {
	m.mu.Lock()
	p, ok := m.places[id]
	m.mu.Unlock()
	return p, ok && p.holds()
}

// Attached says whether a LUN is known to be a disk of this host. Nobody looks for it among the disks that are here: that takes as
// long as there are disks.
func (m *Manager) Attached(id vss.LUNID) bool {
	_, ok := m.placeOf(id)
	return ok
}

// remember records where a LUN was attached.
func (m *Manager) remember(x array.Mapping, device string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := (place{device, sequence(device), x.Address, x.LUN.Bus}); m.places[x.LUN.ID] != p {
		m.places[x.LUN.ID], m.unsaved = p, true
	}
}

// forget ends what is known of a LUN as a disk of this host.
func (m *Manager) forget(id vss.LUNID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.contents, m.places[id].Device)
	delete(m.places, id)
	delete(m.importing, id)
	m.unsaved = true
}

func (m *Manager) setImporting(id vss.LUNID, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if on {
		m.importing[id] = true
	} else {
		delete(m.importing, id)
	}
}

func (m *Manager) isImporting(id vss.LUNID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.importing[id]
}
