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
	mixed   bool // its real, effective and saved accounts differ
}

// Finder finds the servers of one kind.
type Finder struct {
	Names    []string // of the programs, as shown by ps
	Accounts []string // ordinary accounts whose servers count, besides root, system accounts and that of this process
}

// Left is a server that is left out: its data aren't prepared.
type Left struct {
	Name string // for messages
	Dir  string // a folder of its files
	Err  error  // why
	// its account doesn't count: any user can start a program of any name, so that this says nothing about the copies
	Ignored bool
}

// Find returns the servers on this host, sorted by process ID, and those that it left out because they can't be
// trusted: their program or their folder can be changed by other accounts, or they run with rights of several
// accounts, or their account doesn't count. Servers in containers, whose paths differ from ours, and processes forked
// by a server are omitted. Errors: those of the context,
// VSS_E_UNEXPECTED without /proc.
func (f Finder) Find(ctx context.Context) (found []*Process, left []Left, err error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, nil, vss.E("FindServers", vss.ErrUnexpected, err).Advise("mount /proc")
	}
	counts := f.counting()
	var all []*Process
	for _, p := range procs {
		if err := ctx.Err(); err != nil {
			return nil, nil, vss.E("FindServers", vss.ErrUnexpected, err)
		}
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || !slices.Contains(f.Names, strings.TrimSpace(string(name))) {
			continue
		}
		one, err := inspect(pid)
		if err != nil || samePlace(pid, one.Dir) != nil {
			continue // it ended meanwhile, or has another root
		}
		if !counts(one) {
			err := fmt.Errorf("uid %d isn't that of a system account, and not in [writers] accounts", one.UID)
			left = append(left, one.left(err, true))
			continue
		}
		all = append(all, one)
	}
	programs := map[int]string{}
	for _, p := range all {
		programs[p.PID] = p.Program
	}
	for _, p := range all {
		if programs[p.parent] == p.Program {
			continue
		}
		if err := p.trust(f.Names); err != nil {
			left = append(left, p.left(err, false))
			continue
		}
		found = append(found, p)
	}
	slices.SortFunc(found, func(a, b *Process) int { return cmp.Compare(a.PID, b.PID) })
	return found, left, nil
}

// In returns the server whose working directory is dir, nil if there is none. Errors: those of Find.
func (f Finder) In(ctx context.Context, dir string) (*Process, error) {
	all, _, err := f.Find(ctx)
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

func (p *Process) left(err error, ignored bool) Left {
	return Left{fmt.Sprintf("%s (process %d)", p.Dir, p.PID), p.Dir, err, ignored}
}

// Covered returns those whose folder is one of dirs; all if dirs is nil.
func Covered(left []Left, dirs []string) []Left {
	if dirs == nil {
		return left
	}
	return slices.DeleteFunc(left, func(l Left) bool { return !slices.Contains(dirs, l.Dir) })
}

// trust checks that a process is what its name says, and that only root and its account decide what it executes and
// where its data are. It sets Program to the name under which the program is started.
func (p *Process) trust(names []string) error {
	if p.mixed {
		return fmt.Errorf("process %d runs with the rights of several accounts", p.PID)
	}
	program, err := named(p.Program, names)
	if err != nil {
		return err
	}
	p.Program = program
	if err := p.checkProgram(); err != nil {
		return err
	}
	return Owned(p.Dir, p.UID, p.GID)
}

// checkProgram checks that only root and the server's account can change the program or its name.
func (p *Process) checkProgram() error {
	real, err := filepath.EvalSymlinks(p.Program)
	if err != nil {
		return err
	}
	if err := Owned(real, p.UID, p.GID); err != nil {
		return err
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(p.Program))
	if err != nil {
		return err
	}
	return Owned(folder, p.UID, p.GID)
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
	if err := p.status(proc); err != nil {
		return nil, err
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
	if log, err := os.Readlink(proc + "fd/2"); err == nil && p.mayLog(log) == nil {
		p.Log = log
	}
	group, err := os.ReadFile(proc + "cgroup")
	if err != nil {
		return nil, err
	}
	p.Unit = unit(string(group))
	return p, nil
}

// status reads the accounts and the parent of the process.
func (p *Process) status(proc string) error {
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "PPid:":
			p.parent, err = strconv.Atoi(f[1])
		case len(f) != 5 || f[0] != "Uid:" && f[0] != "Gid:": // real, effective, saved, of the file system
			continue
		case f[0] == "Uid:":
			p.UID, err = strconv.Atoi(f[2])
		default:
			p.GID, err = strconv.Atoi(f[2])
		}
		if err != nil {
			return err
		}
		p.mixed = p.mixed || len(f) == 5 && (f[1] != f[2] || f[2] != f[3])
	}
	return nil
}

// unit returns the service of a control group, "" if there is none. A server may be in a group below its service's.
// Only services of the system's manager count: groups below a user's, and below a service, may have any name.
func unit(group string) string {
	for line := range strings.Lines(group) {
		_, path, _ := strings.Cut(line, ":")
		_, path, _ = strings.Cut(strings.TrimSpace(path), ":")
		path, ok := strings.CutPrefix(path, "/system.slice/")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(path, "/") {
			switch filepath.Ext(name) {
			case ".service":
				return name
			case ".slice":
				continue
			}
			break
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
