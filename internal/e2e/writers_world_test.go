package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/tools/testrequester"
	"github.com/stillpoint-vss/stillpoint/internal/tools/testwriter"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// writerLimit is how long writers may take in these tests, but from Freeze to Thaw.
const writerLimit = 1500 * time.Millisecond

// stage is a host with two volumes, on which test writers of processes of their own play.
type stage struct {
	*world
	volumes []string
}

// newStage makes a host whose service stays and has short limits; more is added to its configuration.
func newStage(t testing.TB, more string) *stage {
	t.Helper()
	s := &stage{world: newWorld(t)}
	s.configure(fmt.Sprintf("[service]\nidle_exit = \"1h\"\n[writers.limits]\nprepare_snapshot = %q\nwork = %q\n%s",
		writerLimit, writerLimit, more))
	s.volumes = []string{s.volume("a", "64M", "ext4", "gpt"), s.volume("b", "64M", "ext4", "mbr")}
	return s
}

// in is the stage for a subtest.
func (s *stage) in(t *testing.T) *stage {
	w := *s.world
	w.TB = t
	return &stage{&w, s.volumes}
}

// player is a test writer in a process of its own.
type player struct {
	t      testing.TB
	name   string
	class  vss.GUID
	record string
	cmd    *exec.Cmd
	errs   bytes.Buffer
	ended  bool
}

// part is what a test writer is to be.
type part struct {
	name, level, freezeLimit, instance string
	class                              vss.GUID // zero: one of its own
	path                               string   // of its one component's files; "": volume a
	faults                             string   // TOML
}

// at is a fault in TOML.
func at(event, do string, more ...string) string {
	return fmt.Sprintf("[[fault]]\nevent = %q\ndo = %q\n%s\n", event, do, strings.Join(more, "\n"))
}

// play starts a test writer and waits until it listens. It is ended with the test.
func (s *stage) play(p part) *player {
	s.Helper()
	if p.class.IsZero() {
		p.class = vss.NewGUID()
	}
	if p.path == "" {
		p.path = s.volumes[0]
	}
	socket := p.name + p.instance
	w := &player{t: s.TB, name: p.name, class: p.class,
		record: filepath.Join(s.dir, socket+"-"+vss.NewGUID().Plain()+".jsonl")}
	text := fmt.Sprintf("id = %q\nname = %q\ninstance_name = %q\nsocket = %q\nrecord = %q\n", p.class.String(), p.name,
		p.instance, socket, w.record)
	if p.level != "" {
		text += fmt.Sprintf("level = %q\n", p.level)
	}
	if p.freezeLimit != "" {
		text += fmt.Sprintf("freeze_limit = %q\n", p.freezeLimit)
	}
	text += "[metadata]\nbackup_schema = 0x10\n[metadata.restore_method]\nmethod = " +
		"\"if-can-replace\"\nwriter_restore = \"always\"\n" +
		fmt.Sprintf("[[metadata.components]]\ntype = \"filegroup\"\nlogical_path = %q\nname = \"data\"\nselectable = "+
			"true\nfiles = [{ path = %q, filespec = \"*\", recursive = true }]\n", p.instance, p.path) + p.faults
	config := w.record + ".toml"
	s.write(config, text)
	w.cmd = exec.Command("/proc/self/exe")
	w.cmd.Args = []string{testwriter.Name, "--run", s.run, config}
	w.cmd.Stderr = &w.errs
	if err := w.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(w.end)
	for end := time.Now().Add(20 * time.Second); len(w.lines()) == 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("writer %s isn't ready\n%s", p.name, &w.errs)
		}
	}
	return w
}

// end ends the writer, which is in nobody's way any more.
func (p *player) end() {
	if p.ended {
		return
	}
	p.ended = true
	_ = p.cmd.Process.Signal(unix.SIGTERM)
	late := time.AfterFunc(time.Second, func() { _ = p.cmd.Process.Kill() }) // one that hangs
	defer late.Stop()
	_ = p.cmd.Wait() // how it ended is in its record
}

// seen is a line of a writer's record.
type seen struct {
	Time                                      time.Time
	At, Event, Session, Did, Error, Complaint string
	SetID                                     string `json:"set_id"`
	Volumes                                   []string
	BackupType                                string `json:"backup_type"`
	Components                                []struct{ Name string }
}

func (p *player) lines() []seen {
	b, err := os.ReadFile(p.record)
	if err != nil {
		return nil
	}
	var all []seen
	for _, text := range bytes.SplitAfter(b, []byte("\n")) {
		var l seen
		if !bytes.HasSuffix(text, []byte("\n")) {
			break // it is being written
		}
		if err := json.Unmarshal(text, &l); err != nil {
			p.t.Fatalf("%s: %v: %s", p.name, err, text)
		}
		all = append(all, l)
	}
	return all
}

// events are what the writer was told, in order, without Identify.
func (p *player) events() []string {
	var all []string
	for _, l := range p.lines() {
		if l.At == "begin" && l.Event != "identify" {
			all = append(all, l.Event)
		}
	}
	return all
}

// when is the time of the last line of a kind; zero for none.
func (p *player) when(at, event string) (t time.Time) {
	for _, l := range p.lines() {
		if l.At == at && l.Event == event {
			t = l.Time
		}
	}
	return t
}

// complaints are what the writer says that the requester did wrong.
func (p *player) complaints() []string {
	var all []string
	for _, l := range p.lines() {
		if l.At == "complaint" {
			all = append(all, l.Complaint)
		}
	}
	return all
}

// frozen says whether the last word on being frozen was Freeze.
func (p *player) frozen() bool {
	frozen := false
	for _, e := range p.events() {
		switch e {
		case "freeze":
			frozen = true
		case "thaw", "abort":
			frozen = false
		}
	}
	return frozen
}

// flowing: no volume is held, no writer that lives is frozen.
func (s *stage) flowing(when string, players ...*player) {
	s.Helper()
	wrote := make(chan error, 1)
	go func() {
		var err error
		for _, v := range s.volumes {
			if err == nil {
				err = os.WriteFile(filepath.Join(v, "alive"), []byte(when), 0o644)
			}
		}
		wrote <- err
	}()
	select {
	case err := <-wrote:
		if err != nil {
			s.Errorf("%s: %v", when, err)
		}
	case <-time.After(10 * time.Second):
		s.Fatalf("%s: a volume is held\n%s", when, s.log())
	}
	for _, p := range players {
		if p.frozen() && unix.Kill(p.cmd.Process.Pid, 0) == nil && !zombie(p.cmd.Process.Pid) {
			s.Errorf("%s: writer %s is frozen: %v", when, p.name, p.events())
		}
	}
}

// called is what a call of a script gave.
type called struct {
	Line            int
	Call            string
	Result, HRESULT string
	Message, Wanted string
	Value           json.RawMessage
	MS              float64
}

// script runs a script of a requester; what it expects must come. It gives what the calls gave.
func (s *stage) script(lines ...string) []called {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{testrequester.Name, "--run", s.run, "--json", "-"}
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var all []called
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var c called
		if err := d.Decode(&c); err != nil {
			s.Fatalf("%v\n%s", err, out)
		}
		if c.Wanted != "" {
			s.Errorf("line %d, %s: %s (%s), want %s", c.Line, c.Call, c.Result, c.Message, c.Wanted)
		}
		all = append(all, c)
	}
	if err != nil || s.Failed() {
		s.Fatalf("%v\n%s%s\n%s", err, out, &errs, s.log())
	}
	return all
}

// standing is how a writer stands in a session.
type standing struct {
	Name, State, Failure, Message string
	InstanceID                    string  `json:"instance_id"`
	FrozenMS                      float64 `json:"frozen_ms"`
}

// standings are the answers to the nth GetWriterStatus of a script, by the writer's name.
func standings(t testing.TB, all []called, n int) map[string]standing {
	t.Helper()
	out := map[string]standing{}
	for _, c := range all {
		if c.Call != "GetWriterStatus" {
			continue
		}
		if n--; n >= 0 {
			continue
		}
		var list []standing
		if err := json.Unmarshal(c.Value, &list); err != nil {
			t.Fatal(err)
		}
		for _, w := range list {
			out[w.Name] = w
		}
		return out
	}
	t.Fatal("there is no such GetWriterStatus")
	return nil
}

// backupOf is the beginning of a script: everything up to DoSnapshotSet, with the one component of each writer.
func (s *stage) backupOf(players ...*player) []string {
	lines := []string{"InitializeForBackup => S_OK", "SetContext backup => S_OK",
		"SetBackupState component copy => S_OK"}
	for i, p := range players {
		if i == 0 {
			lines = append(lines, "EnableWriterClasses "+strings.Join(classes(players), " ")+" => S_OK",
				"GatherWriterMetadata => VSS_S_ASYNC_FINISHED")
		}
		lines = append(lines, fmt.Sprintf("AddComponent %s filegroup '' data => S_OK", p.name))
	}
	return append(lines, "StartSnapshotSet => S_OK", fmt.Sprintf("AddToSnapshotSet %s => S_OK", s.volumes[0]),
		"PrepareForBackup => VSS_S_ASYNC_FINISHED")
}

func classes(players []*player) []string {
	var all []string
	for _, p := range players {
		if !slices.Contains(all, p.class.String()) {
			all = append(all, p.class.String())
		}
	}
	return all
}

// askStatus asks how the writers are.
var askStatus = []string{"GatherWriterStatus => VSS_S_ASYNC_FINISHED", "GetWriterStatus => S_OK"}

// completed is the end of a script whose backup went well.
func completed(players ...*player) []string {
	var lines []string
	for _, p := range players {
		lines = append(lines, fmt.Sprintf("SetBackupSucceeded %s filegroup '' data true => S_OK", p.name))
	}
	return append(append(lines, "BackupComplete => VSS_S_ASYNC_FINISHED"), askStatus...)
}
