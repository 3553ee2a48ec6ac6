package providertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Host is a host's volumes in memory, of one byte each, and the copies that MemorySoftware providers keep of them. It
// outlives its providers, as a host's disks outlive the processes that use them.
type Host struct {
	mu      sync.Mutex
	volumes map[string]byte // content by UUID
	copies  map[vss.SnapshotID]*memoryCopy
	gate    chan struct{} // EndPrepareSnapshots waits while it is open; nil lets all pass
	events  []provider.Event
	more    chan struct{} // closed when an event was added
}

// memoryCopy is a copy, finished or not.
type memoryCopy struct {
	set      vss.SnapshotSetID
	volume   provider.Volume
	content  byte
	cut      time.Time // zero: not taken yet
	final    bool
	lost     bool // can only be deleted
	surfaced bool
	writable bool
	props    provider.SnapshotProperties
}

// NewHost returns a host with volumes.
func NewHost(volumes int) (*Host, []provider.Volume) {
	h := &Host{volumes: map[string]byte{}, copies: map[vss.SnapshotID]*memoryCopy{}, more: make(chan struct{})}
	var out []provider.Volume
	for i := range volumes {
		v := NewVolume(i)
		h.volumes[v.UUID] = 0
		out = append(out, v)
	}
	return h, out
}

// NewVolume describes a volume that no host has.
func NewVolume(i int) provider.Volume {
	name, disk := fmt.Sprintf("/srv/memory%d", i), fmt.Sprintf("/dev/memory%d", i)
	return provider.Volume{
		Name: name, Mount: name, FileSystem: "ext4", UUID: vss.NewGUID().String(), Device: disk + "p1",
		Devices: []string{disk}, Extents: []vss.Extent{{Start: 1 << 20, Length: 1 << 30}}, Size: 1 << 30,
	}
}

// Write sets the content of a volume.
func (h *Host) Write(v provider.Volume, b byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.volumes[v.UUID] = b
}

// Read returns the content of a volume.
func (h *Host) Read(v provider.Volume) byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.volumes[v.UUID]
}

// at returns the copy that is accessible at a location, or nil. The caller holds mu.
func (h *Host) at(l provider.Location) *memoryCopy {
	for id, c := range h.copies {
		if c.surfaced && len(l.Devices) == 1 && l.Devices[0] == device(id) {
			return c
		}
	}
	return nil
}

// ReadAt returns the content of the copy at a location. The second result is false if no copy is accessible there.
func (h *Host) ReadAt(l provider.Location) (byte, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.at(l)
	if c == nil {
		return 0, false
	}
	return c.content, true
}

// WriteAt sets the content of the copy at a location and reports whether it is accessible and writable.
func (h *Host) WriteAt(l provider.Location, b byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.at(l)
	if c == nil || !c.writable {
		return false
	}
	c.content = b
	return true
}

// Copies returns the number of copies, finished or not.
func (h *Host) Copies() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.copies)
}

// Slow makes every EndPrepareSnapshots wait until release is called.
func (h *Host) Slow() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gate := make(chan struct{})
	h.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// wait waits for the release of Slow.
func (h *Host) wait(ctx context.Context) error {
	h.mu.Lock()
	gate := h.gate
	h.mu.Unlock()
	return waitFor(ctx, gate)
}

// waitFor waits until a gate is closed, or ctx ends. A nil gate is open.
func waitFor(ctx context.Context, gate <-chan struct{}) error {
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return vss.E("EndPrepareSnapshots", vss.ErrProviderVeto, ctx.Err())
	}
}

// Lose destroys a copy, as a full difference area does, and sends the event.
func (h *Host) Lose(id vss.SnapshotID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.copies[id]
	if c == nil {
		return
	}
	c.lost, c.surfaced = true, false
	h.send(
		provider.Event{
			Kind:     provider.EventCopyLost,
			Snapshot: id,
			Object:   c.volume.Name,
			Text:     "the difference area is full",
			Hint:     "delete the copy",
		},
	)
}

// Fill sends the event that the area for differences is full to percent.
func (h *Host) Fill(percent float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.send(
		provider.Event{
			Kind:    provider.EventAreaFilling,
			Object:  "memory",
			Percent: percent,
			Text:    "the difference area is filling",
			Hint:    "delete copies",
		},
	)
}

// send adds an event. The caller holds mu.
func (h *Host) send(e provider.Event) {
	e.Time = time.Now()
	h.events = append(h.events, e)
	close(h.more)
	h.more = make(chan struct{})
}

// next waits for the oldest event that was not received yet, and removes it. False: ctx ended.
func (h *Host) next(ctx context.Context) (provider.Event, bool) {
	for {
		h.mu.Lock()
		more := h.more
		if len(h.events) > 0 {
			e := h.events[0]
			h.events = h.events[1:]
			h.mu.Unlock()
			return e, true
		}
		h.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return provider.Event{}, false
		}
	}
}

// dropSet deletes the copies of a set that aren't final and reports whether it had any.
func (h *Host) dropSet(set vss.SnapshotSetID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := false
	for id, c := range h.copies {
		if c.set == set {
			known = true
			if !c.final {
				delete(h.copies, id)
			}
		}
	}
	return known
}

// each calls f for each copy of a set.
func (h *Host) each(set vss.SnapshotSetID, f func(*memoryCopy)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.copies {
		if c.set == set {
			f(c)
		}
	}
}

// device is where a copy is surfaced.
func device(id vss.SnapshotID) string { return "/dev/memory/" + id.String() }
