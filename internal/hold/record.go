package hold

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// heldDir is the folder below RunDir with one record for each hold in progress.
const heldDir = "held"

// recordFormat is raised when older programs can no longer read the record.
const recordFormat = 1

var errNewer = errors.New("record of another format")

// record is what is needed to thaw after all three processes have died.
type record struct {
	Format      int          `json:"format"`
	Boot        string       `json:"boot"` // boot ID of the kernel: after a restart nothing is frozen
	Coordinator process      `json:"coordinator"`
	Guards      []process    `json:"guards"`
	Volumes     []heldVolume `json:"volumes"`
}

// process identifies a process beyond the reuse of its PID.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // field 22 of /proc/PID/stat, clock ticks since boot
}

// heldVolume is a file system and a mount of it.
type heldVolume struct {
	Name string `json:"name"`
	// MAJ:MIN of the super block, as in mountinfo (not st_dev: btrfs has another for each subvolume)
	Device string `json:"device"`
	Type   string `json:"type"`
	Source string `json:"source"`
	Mount  int    `json:"mount"` // mount id
	Point  string `json:"point"`
	UUID   string `json:"uuid,omitempty"` // of the file system, where the kernel reports it (Linux 6.9)
}

// shows reports whether a mount shows the file system. Its device number alone is not enough: another file system may
// have it by now, and may be frozen by another program.
func (v heldVolume) shows(m *mountinfo.Info) bool {
	switch {
	case device(m) != v.Device:
		return false
	case v.Type == "": // it was mounted nowhere
		return v.UUID != "" || m.ID == v.Mount
	}
	return m.FSType == v.Type && (m.ID == v.Mount || m.Source == v.Source || v.UUID != "")
}

// same reports whether a descriptor is of the file system, as far as the kernel can distinguish them.
func (v heldVolume) same(f *os.File) bool {
	uuid := uuidOf(f)
	return v.UUID == "" || uuid == "" || uuid == v.UUID
}

// uuidOf returns the UUID of the file system that a descriptor is of, "" if the kernel doesn't report it.
func uuidOf(f *os.File) string {
	var u struct {
		length uint8
		uuid   [16]byte
	}
	const getFSUUID = 0x80111500 // FS_IOC_GETFSUUID. Source: linux/fs.h
	if ioctl(int(f.Fd()), getFSUUID, unsafe.Pointer(&u)) != error(unix.Errno(0)) {
		return ""
	}
	return hex.EncodeToString(u.uuid[:min(int(u.length), len(u.uuid))])
}

// parseRecord reads a record. An incomplete one belongs to a hold that hadn't begun.
func parseRecord(b []byte) (record, error) {
	var r record
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&r); err != nil {
		return record{}, err
	}
	if r.Format != recordFormat {
		return record{}, fmt.Errorf("%w: %d, this program knows %d", errNewer, r.Format, recordFormat)
	}
	return r, nil
}

// publish writes the record, on tmpfs: it must outlive processes, not the machine.
func (r record) publish(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// processOf identifies a living process.
func processOf(pid int) (process, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, err
	}
	_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 20 {
		return process{}, fmt.Errorf("can't parse stat of process %d", pid)
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return process{}, err
	}
	// otherwise only its first thread has ended, and others may be in an ioctl
	if (f[0] == "Z" || f[0] == "X") && (f[17] == "0" || f[17] == "1") {
		return process{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return process{PID: pid, Start: start}, nil
}

// stopped reports whether a /proc/PID/stat describes a stopped process.
func stopped(stat []byte) bool {
	i := bytes.LastIndexByte(stat, ')') + 2
	return i < len(stat) && (stat[i] == 'T' || stat[i] == 't')
}

// alive reports whether the process still exists and isn't a zombie.
func (p process) alive() bool {
	now, err := processOf(p.PID)
	return err == nil && now == p
}

// holds reports whether the process is alive and can still release by itself. A killed process can't, even if a thread
// that waits for a held file system keeps it in existence.
func (p process) holds() bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/status")
	return err == nil && !killed(status) && p.alive()
}

// killed reports whether a /proc/PID/status describes a process that has ended or has SIGKILL pending.
func killed(status []byte) bool {
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "State":
			if strings.HasPrefix(value, "Z") || strings.HasPrefix(value, "X") {
				return true
			}
		case "SigPnd", "ShdPnd":
			if set, err := strconv.ParseUint(value, 16, 64); err == nil && set&(1<<(unix.SIGKILL-1)) != 0 {
				return true
			}
		}
	}
	return false
}

// allMounts returns the mounts of all mount namespaces by their IDs.
func allMounts() map[int]*mountinfo.Info {
	out := map[int]*mountinfo.Info{}
	for _, pid := range namespaces() {
		for _, m := range mountsOf(pid) {
			out[m.ID] = m
		}
	}
	return out
}

// locate returns the mount that a descriptor refers to, which is one of all.
func locate(name string, f *os.File, all map[int]*mountinfo.Info) (heldVolume, error) {
	id, err := mountID(f)
	if err != nil {
		return heldVolume{}, err
	}
	if m := all[id]; m != nil {
		return heldVolume{
			Name:   name,
			Device: device(m),
			Type:   m.FSType,
			Source: m.Source,
			Mount:  id,
			Point:  m.Mountpoint,
			UUID:   uuidOf(f),
		}, nil
	}
	var st unix.Stat_t // unmounted, or attached nowhere as by fsmount
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return heldVolume{}, err
	}
	return heldVolume{Name: name, Device: fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)),
		Mount: id, UUID: uuidOf(f)}, nil
}

func device(m *mountinfo.Info) string { return fmt.Sprintf("%d:%d", m.Major, m.Minor) }

// mountID returns the ID of the mount through which a descriptor was opened.
func mountID(f *os.File) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
	if err != nil {
		return 0, err
	}
	for _, l := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(l, "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, errors.New("the kernel doesn't report mount IDs")
}

// namespaces returns one process of each mount namespace, ours first.
func namespaces() []string {
	out := []string{"self"}
	own, _ := os.Readlink("/proc/self/ns/mnt")
	seen := map[string]bool{own: true}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		if ns, err := os.Readlink(p + "/ns/mnt"); err == nil && !seen[ns] {
			seen[ns] = true
			out = append(out, filepath.Base(p))
		}
	}
	return out
}

// mountsOf returns the mount table of a process; empty if it has ended.
func mountsOf(pid string) []*mountinfo.Info {
	f, err := os.Open("/proc/" + pid + "/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	infos, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		return nil
	}
	return infos
}
