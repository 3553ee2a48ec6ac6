// Package server finds servers that run on this host and the addresses at which they listen, and stops and starts them
// for a restore.
package server

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Process is a running server with what is needed to start it again. It is stored in backup metadata.
type Process struct {
	Program string   `json:"program"`
	Args    []string `json:"args"`           // without the program's name
	Dir     string   `json:"dir,omitempty"`  // its working directory
	UID     int      `json:"uid"`            // account that it runs as
	GID     int      `json:"gid"`            //
	Log     string   `json:"log,omitempty"`  // regular file behind its standard error, "" for none
	Unit    string   `json:"unit,omitempty"` // its systemd service, "" for none
	PID     int      `json:"-"`
	Started uint64   `json:"-"` // in ticks since the machine's start; together with PID it identifies the process
	parent  int
}

// Find returns the servers on this host whose name, as shown by ps, is one of names, sorted by process ID. Servers in
// containers, whose paths differ from ours, and processes forked by a server are omitted. Errors: those of the
// context, VSS_E_UNEXPECTED without /proc.
func Find(ctx context.Context, names ...string) ([]*Process, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, vss.E("FindServers", vss.ErrUnexpected, err).Advise("mount /proc")
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, vss.E("FindServers", vss.ErrUnexpected, err).Advise("mount /proc")
	}
	var out []*Process
	for _, p := range procs {
		if err := ctx.Err(); err != nil {
			return nil, vss.E("FindServers", vss.ErrUnexpected, err)
		}
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || !slices.Contains(names, strings.TrimSpace(string(name))) {
			continue
		}
		if theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err != nil || theirs != ours {
			continue
		}
		if one, err := inspect(pid); err == nil { // otherwise it ended meanwhile
			out = append(out, one)
		}
	}
	programs := map[int]string{}
	for _, p := range out {
		programs[p.PID] = p.Program
	}
	out = slices.DeleteFunc(out, func(p *Process) bool { return programs[p.parent] == p.Program })
	slices.SortFunc(out, func(a, b *Process) int { return cmp.Compare(a.PID, b.PID) })
	return out, nil
}

// In returns the server with one of the names whose working directory is dir, nil if there is none. Errors: those of
// Find.
func In(ctx context.Context, dir string, names ...string) (*Process, error) {
	all, err := Find(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Dir == dir {
			return p, nil
		}
	}
	return nil, nil
}

func inspect(pid int) (*Process, error) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	p := &Process{PID: pid}
	var err error
	if p.Program, err = os.Readlink(proc + "exe"); err != nil {
		return nil, err
	}
	p.Program = strings.TrimSuffix(p.Program, " (deleted)") // the program was upgraded while the server ran
	if p.Dir, err = os.Readlink(proc + "cwd"); err != nil {
		return nil, err
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(status)) {
		switch f := strings.Fields(line); {
		case len(f) == 2 && f[0] == "PPid:":
			p.parent, err = strconv.Atoi(f[1])
		case len(f) < 3:
		case f[0] == "Uid:":
			p.UID, err = strconv.Atoi(f[2]) // the effective one
		case f[0] == "Gid:":
			p.GID, err = strconv.Atoi(f[2])
		}
		if err != nil {
			return nil, err
		}
	}
	if p.Started, err = started(pid); err != nil {
		return nil, err
	}
	line, err := os.ReadFile(proc + "cmdline")
	if err != nil {
		return nil, err
	}
	if len(line) == 0 {
		return nil, fmt.Errorf("process %d is starting or ending", pid)
	}
	if args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"); len(args) > 1 {
		p.Args = args[1:]
	}
	if log, err := os.Readlink(proc + "fd/2"); err == nil {
		if st, err := os.Stat(log); err == nil && st.Mode().IsRegular() {
			p.Log = log
		}
	}
	group, err := os.ReadFile(proc + "cgroup")
	if err != nil {
		return nil, err
	}
	p.Unit = unit(string(group))
	return p, nil
}

// unit returns the systemd service of a control group, "" if there is none. A server may be in a group below its
// service's.
func unit(group string) string {
	for line := range strings.Lines(group) {
		_, path, _ := strings.Cut(line, ":")
		_, path, _ = strings.Cut(strings.TrimSpace(path), ":")
		for path != "" && path != "/" && path != "." {
			name := filepath.Base(path)
			switch filepath.Ext(name) {
			case ".service":
				return name
			case ".scope", ".slice":
				path = ""
				continue
			}
			path = filepath.Dir(path)
		}
	}
	return ""
}

// started returns the start time of a process. Source: proc(5), field 22 of stat.
func started(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// the program's name before may contain blanks and parentheses
	rest := string(b[strings.LastIndexByte(string(b), ')')+1:])
	f := strings.Fields(rest)
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat is malformed", pid)
	}
	if f[0] == "Z" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// Runs reports whether the process still runs.
func (p *Process) Runs() bool {
	now, err := started(p.PID)
	return err == nil && now == p.Started
}
