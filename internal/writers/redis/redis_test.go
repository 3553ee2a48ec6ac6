package redis_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/redis"
	"github.com/stillpoint-vss/stillpoint/internal/writers/redis/redistest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

func TestIdentify(t *testing.T) {
	v, run := Volumes(t, "ext4")
	w := newWriter(t, marks(t), v[0]+"/aof", v[0]+"/rdb", v[0]+"/nothing", v[0]+"/linked")
	Must(t, os.MkdirAll(v[0]+"/linked", 0o755))
	Must(t, os.Mkdir(v[0]+"/real", 0o755))
	Must(t, os.Symlink(v[0]+"/real", v[0]+"/linked/appendonlydir"))
	Run(t, "chown", redistest.Account, v[0]+"/real")
	for _, c := range []struct {
		name string
		s    *redistest.Server
		want []string
	}{
		{"append-only file", &redistest.Server{Dir: v[0] + "/aof", Run: run + "1", AOF: true},
			[]string{v[0] + "/aof/appendonlydir/*"}},
		{"linked folder", &redistest.Server{Dir: v[0] + "/linked", Run: run + "4", AOF: true},
			[]string{v[0] + "/real/*"}},
		{"dumps", &redistest.Server{Dir: v[0] + "/rdb", Run: run + "2"}, []string{v[0] + "/rdb/dump.rdb"}},
		{"nothing kept", &redistest.Server{Dir: v[0] + "/nothing", Run: run + "3",
			Settings: map[string]string{"save": `""`}}, nil},
	} {
		start(t, c.s)
		m, found := Identify(t, w, c.s.Dir)
		var got []string
		if found != nil {
			for _, f := range found.Files {
				got = append(got, filepath.Join(f.Path, f.FileSpec))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: files %v, want %v", c.name, got, c.want)
		}
		if m.RestoreMethod.WriterRestore != vss.WriterRestoreAlways {
			t.Errorf("restore method %+v", m.RestoreMethod)
		}
	}
}

// TestCopies makes copies under load and proves each: the server starts on it and holds what was acknowledged.
func TestCopies(t *testing.T) {
	for _, c := range []struct {
		name   string
		aof    bool
		sync   string
		copies int
	}{{"everysec", true, "everysec", 30}, {"no", true, "no", 10}, {"always", true, "always", 10},
		{"dumps", false, "everysec", 10}} {
		t.Run(c.name, func(t *testing.T) {
			v, run := Volumes(t, "xfs")
			s := start(
				t,
				&redistest.Server{
					Dir:      v[0] + "/data",
					Run:      run,
					AOF:      c.aof,
					Settings: map[string]string{"appendfsync": c.sync},
				},
			)
			w := newWriter(t, marks(t), s.Dir)
			j := s.Journal(ctx, clients)
			defer func() { Must(t, j.Stop()) }()
			for range lane.Soak(c.copies) {
				Must(t, j.Under(ctx, slices.Min(j.Acknowledged())+100))
				j.Pauses()
				began := time.Now()
				k := save(t, w, s, v, j.Acknowledged)
				n, p50, p99, most := j.Pauses()
				t.Logf(
					"backup with copying %v; %d writes meanwhile: p50 %v, p99 %v, longest %v",
					time.Since(began),
					n,
					p50,
					p99,
					most,
				)
				k.Succeed(writer.OnBackupComplete)
				o := k.open(t, s)
				Must(t, o.Holds(ctx, k.acked))
				Must(t, o.Stop(ctx))
				if sync, rewrite := settings(t, s); sync != c.sync || rewrite != "100" {
					t.Errorf("afterwards appendfsync is %s and auto-aof-rewrite-percentage %s", sync, rewrite)
				}
				r := recordOf(t, k.Backup)
				if r.Run == "" || r.Frozen.IsZero() || r.Dumped.IsZero() != c.aof ||
					(k.Component().BackupStamp != "") != c.aof {
					t.Errorf("metadata %s, stamp %q", k.Component().BackupMetadata, k.Component().BackupStamp)
				}
			}
		})
	}
}

// TestRewrites is a server that rewrites its file all the time: none runs while it is copied.
func TestRewrites(t *testing.T) {
	v, run := Volumes(t, "ext4")
	s := start(
		t,
		&redistest.Server{
			Dir:      v[0] + "/data",
			Run:      run,
			AOF:      true,
			Settings: map[string]string{"auto-aof-rewrite-min-size": "1kb", "auto-aof-rewrite-percentage": "1"},
		},
	)
	w := newWriter(t, marks(t), s.Dir)
	j := s.Journal(ctx, clients)
	for range 3 {
		Must(t, j.Under(ctx, slices.Min(j.Acknowledged())+200))
		k := save(t, w, s, v, j.Acknowledged)
		if left, _ := filepath.Glob(k.files.At(s.Dir) + "/appendonlydir/*.aof"); len(left) != 1 {
			t.Errorf("the copy has %v", left)
		}
		o := k.open(t, s)
		Must(t, o.Holds(ctx, k.acked))
		Must(t, o.Stop(ctx))
		if _, rewrite := settings(t, s); rewrite != "1" {
			t.Errorf("auto-aof-rewrite-percentage is %s", rewrite)
		}
	}
	Must(t, j.Stop())
}

func TestSettingsFromPrepareToThaw(t *testing.T) {
	s, v := one(t, true)
	m := marks(t)
	w := newWriter(t, m, s.Dir)
	noted := func() int {
		all, _ := filepath.Glob(m + "/*")
		return len(all)
	}
	b := New(t, w, v, s.Dir)
	for _, c := range []struct {
		at            writer.Handler
		sync, rewrite string
		notes         int
	}{
		{writer.OnPrepareBackup, "everysec", "100", 0}, {writer.OnPrepareSnapshot, "everysec", "0", 1},
		{writer.OnFreeze, "always", "0", 1},
		{writer.OnThaw, "everysec", "100", 0},
	} {
		b.Succeed(c.at)
		if sync, rewrite := settings(t, s); sync != c.sync || rewrite != c.rewrite || noted() != c.notes {
			t.Errorf("after %s: appendfsync %s, auto-aof-rewrite-percentage %s, %d notes", c.at, sync, rewrite, noted())
		}
	}
	steps := []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw}
	for n := range len(steps) + 1 {
		b := New(t, w, v, s.Dir)
		b.Succeed(steps[:n]...)
		b.Succeed(writer.OnAbort, writer.OnAbort, writer.OnThaw)
		same(t, "aborted", s)
	}
	// An administrator's change is his, and the copy isn't vouched for.
	b = New(t, w, v, s.Dir)
	b.Succeed(steps[:3]...)
	_, err := s.Do(ctx, "CONFIG", "SET", "appendfsync", "no")
	Must(t, err)
	b.Vetoed(writer.OnThaw, vss.ErrWriterErrorRetryable)
	if sync, rewrite := settings(t, s); sync != "no" || rewrite != "100" {
		t.Errorf("appendfsync %s, auto-aof-rewrite-percentage %s", sync, rewrite)
	}
}

// TestTwoSessions has two sessions change the same settings at once.
func TestTwoSessions(t *testing.T) {
	s, v := one(t, true)
	w := newWriter(t, marks(t), s.Dir)
	a, b := New(t, w, v, s.Dir), New(t, w, v, s.Dir)
	a.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	a.Succeed(writer.OnFreeze, writer.OnThaw)
	if _, rewrite := settings(t, s); rewrite != "0" {
		t.Errorf("auto-aof-rewrite-percentage is %s while a session needs it", rewrite)
	}
	b.Succeed(writer.OnFreeze, writer.OnThaw)
	same(t, "both thawed", s)
}

// TestKilled kills a process in which the writer has a server frozen: the next one puts the settings back.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("REDIS_WRITER_DIR"); dir != "" {
		b := New(t, newWriter(t, os.Getenv("REDIS_WRITER_MARKS"), dir), []string{filepath.Dir(dir)}, dir)
		b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze)
		Must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	s, v := one(t, true)
	m := marks(t)
	frozen := func() {
		t.Helper()
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "REDIS_WRITER_DIR="+s.Dir, "REDIS_WRITER_MARKS="+m)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("%v: %s", err, out)
		}
		if sync, rewrite := settings(t, s); sync != "always" || rewrite != "0" {
			t.Fatalf("killed: appendfsync %s, auto-aof-rewrite-percentage %s", sync, rewrite)
		}
	}
	frozen()
	newWriter(t, m, s.Dir)
	same(t, "the next writer has started", s)
	if left, _ := filepath.Glob(m + "/*"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}

	frozen()
	Must(t, s.Crash(ctx))
	Must(t, s.Start(ctx))
	_, err := s.Do(ctx, "CONFIG", "SET", "appendfsync", "always")
	Must(t, err)
	w := newWriter(t, m, s.Dir)
	if sync, _ := settings(t, s); sync != "always" {
		t.Errorf("a server that was started anew has another's settings: appendfsync %s", sync)
	}
	New(
		t,
		w,
		v,
		s.Dir,
	).Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
}

// TestOtherVolumes is a set without the server's volume. All its files are on one: Redis renames them from folder to
// folder.
func TestOtherVolumes(t *testing.T) {
	s, _ := one(t, true)
	w := newWriter(t, marks(t), s.Dir)
	other, _ := Volumes(t, "ext4")
	b := New(t, w, other, s.Dir)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	same(t, "prepared", s)
	b.Succeed(writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
	if m := b.Component().BackupMetadata; m != "" {
		t.Errorf("a set without its volume has metadata %s", m)
	}
}

func TestServerDies(t *testing.T) {
	s, v := one(t, true)
	m := marks(t)
	w := newWriter(t, m, s.Dir)
	steps := []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw}
	for n := 1; n < len(steps); n++ {
		t.Run("before "+steps[n].String(), func(t *testing.T) {
			b := New(t, w, v, s.Dir)
			b.Succeed(steps[:n]...)
			Must(t, s.Crash(ctx))
			b.Vetoed(steps[n], vss.ErrWriterErrorRetryable)
			Must(t, s.Start(ctx))
			b.Succeed(writer.OnAbort)
			if left, _ := filepath.Glob(m + "/*"); len(left) > 0 {
				t.Errorf("%v are left", left)
			}
			New(t, w, v, s.Dir).Succeed(append(slices.Clone(steps), writer.OnPostSnapshot)...)
		})
	}
}

// TestServerHangs has a server that doesn't answer: Freeze ends with its context.
func TestServerHangs(t *testing.T) {
	s, v := one(t, true)
	w := newWriter(t, marks(t), s.Dir)
	b := New(t, w, v, s.Dir)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	p, err := s.Process(ctx)
	Must(t, err)
	Must(t, syscall.Kill(p.PID, syscall.SIGSTOP))
	defer func() { Must(t, syscall.Kill(p.PID, syscall.SIGCONT)) }()
	b.Vetoed(writer.OnFreeze, vss.ErrWriterErrorTimeout)
}

func TestCredentials(t *testing.T) {
	v, run := Volumes(t, "ext4")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	Must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	Must(t, l.Close())
	s := start(
		t,
		&redistest.Server{
			Dir:      v[0] + "/data",
			Run:      run,
			AOF:      true,
			Port:     port,
			Settings: map[string]string{"requirepass": "secret"},
		},
	)
	_, err = s.Do(
		ctx,
		"ACL",
		"SETUSER",
		"vss",
		"on",
		">other",
		"+ping",
		"+info",
		"+config|get",
		"+config|set",
		"+bgsave",
		"+lastsave",
	)
	Must(t, err)
	_, err = s.Do(ctx, "ACL", "SETUSER", "weak", "on", ">weak", "+ping", "+info", "+config|get")
	Must(t, err)
	file := filepath.Join(v[0], "credentials")
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		code       vss.Code
		says       string
	}{
		{"none", "", 0, vss.ErrWriterErrorNonRetryable, "credentials"},
		{"the password", `password = "secret"`, 0o600, vss.OK, ""},
		{"an account", "user = \"vss\"\npassword = \"other\"", 0o600, vss.OK, ""},
		{"a wrong password", `password = "guess"`, 0o600, vss.ErrWriterErrorNonRetryable, "WRONGPASS"},
		{"not enough rights", "user = \"weak\"\npassword = \"weak\"", 0o600, vss.ErrWriterErrorNonRetryable,
			"+config|set"},
		{"open to all", `password = "secret"`, 0o640, vss.ErrWriterErrorNonRetryable, "chmod 600"},
		{"no TOML", "secret", 0o600, vss.ErrWriterErrorNonRetryable, "TOML"},
		{"a slip of the pen", `pasword = "secret"`, 0o600, vss.ErrWriterErrorNonRetryable, "pasword"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := redis.Config{Servers: []string{s.Dir}, Marks: marks(t)}
			if c.mode != 0 {
				Must(t, os.WriteFile(file, []byte(c.text), 0o600))
				Must(t, os.Chmod(file, c.mode))
				config.Credentials = map[string]string{s.Dir: file}
			}
			w := redis.New(config)
			if _, c := Identify(t, w, s.Dir); c == nil {
				t.Error("a server that lets nobody in isn't named")
			}
			b := New(t, w, v, s.Dir)
			b.Succeed(writer.OnPrepareBackup)
			if c.code == vss.OK {
				b.Succeed(writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
			} else if m := b.Vetoed(writer.OnPrepareSnapshot, c.code); !strings.Contains(m, c.says) {
				t.Errorf("%q doesn't say %q", m, c.says)
			}
			same(t, c.name, s)
		})
	}
}

func TestSeveralServers(t *testing.T) {
	v, run := Volumes(t, "ext4", "xfs")
	a := start(t, &redistest.Server{Dir: v[0] + "/a", Run: run + "a", AOF: true})
	b := start(t, &redistest.Server{Dir: v[1] + "/b", Run: run + "b"})
	w := newWriter(t, marks(t), a.Dir, b.Dir)
	k := New(t, w, v, a.Dir, b.Dir)
	k.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
	for _, c := range k.Components.Components {
		if !strings.Contains(c.BackupMetadata, `"dir":"`+c.Name+`"`) {
			t.Errorf("%s has metadata %s", c.Name, c.BackupMetadata)
		}
	}
	k = New(t, w, v[:1], a.Dir, b.Dir)
	k.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
	if m := k.Components.Components; m[0].BackupMetadata == "" || m[1].BackupMetadata != "" {
		t.Errorf("a set with the volume of one of the two: %q, %q", m[0].BackupMetadata, m[1].BackupMetadata)
	}
	twin := start(
		t,
		&redistest.Server{Dir: a.Dir, Run: run + "c", Settings: map[string]string{"dbfilename": "twin.rdb"}},
	)
	m, err := w.Identify(ctx)
	Must(t, err)
	Must(t, m.Validate())
	var names []string
	for _, c := range m.Components {
		names = append(names, c.Name)
	}
	if len(names) != 3 || names[0] == names[1] || !strings.HasPrefix(names[0], a.Dir) {
		t.Errorf("two servers in one folder: %v", names)
	}
	_, _ = twin.Do(ctx, "SHUTDOWN", "NOSAVE") // it doesn't answer
}

func TestRestore(t *testing.T) {
	for _, aof := range []bool{true, false} {
		name := map[bool]string{true: "append-only file", false: "dump"}[aof]
		for _, gone := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", files gone", false: ""}[gone], func(t *testing.T) {
				s, v := one(t, aof)
				w := newWriter(t, marks(t), s.Dir)
				j := s.Journal(ctx, clients)
				Must(t, j.Under(ctx, 50))
				k := save(t, w, s, v, j.Acknowledged)
				Must(t, j.Stop())
				_, err := s.Do(ctx, "FLUSHALL")
				Must(t, err)
				if gone {
					Must(t, s.Crash(ctx))
					Must(t, os.RemoveAll(s.Dir))
				}
				k.Again()
				k.Succeed(writer.OnPreRestore)
				if p, err := s.Process(ctx); err != nil || p != nil {
					t.Fatalf("the server runs when files are to be restored: %v", err)
				}
				k.files.Put(t, k.sets)
				Run(t, "chown", "-R", redistest.Account+":", s.Dir)
				k.Component().FileRestoreStatus = vss.RestoredAll
				k.Succeed(writer.OnPostRestore)
				Must(t, s.Holds(ctx, k.acked))
				for _, pattern := range []string{"/.before-restore-*", "/*.before-restore-*"} {
					if left, _ := filepath.Glob(s.Dir + pattern); len(left) > 0 {
						t.Errorf("%v are left", left)
					}
				}
				if gone {
					return
				}
				_, err = s.Do(ctx, "SET", "later", "1")
				Must(t, err)
				k.Again()
				k.Succeed(writer.OnPreRestore)
				k.Component().FileRestoreStatus = vss.RestoredNone
				k.Succeed(writer.OnPostRestore)
				if later, err := s.Do(ctx, "GET", "later"); err != nil || later != "1" {
					t.Errorf("nothing was restored, and the server has %q, %v", later, err)
				}
			})
		}
	}
}

func TestRecall(t *testing.T) {
	s, v := one(t, true)
	k := save(t, newWriter(t, marks(t), s.Dir), s, v, func() []int64 { return nil })
	text := k.Component().BackupMetadata
	var r map[string]any
	Must(t, json.Unmarshal([]byte(text), &r))
	delete(r, "config")
	unknown, err := json.Marshal(r)
	Must(t, err)
	for _, bad := range []string{"", "{}", `{"format":99}`, "<xml/>", string(unknown)} {
		k.Again()
		k.Component().BackupMetadata = bad
		k.Vetoed(writer.OnPreRestore, vss.ErrWriterErrorNonRetryable)
		if k.Component().PreRestoreFailure == "" {
			t.Errorf("%q: the component has no failure", bad)
		}
	}
	_, err = s.Do(ctx, "PING")
	Must(t, err)
}

func TestSuite(t *testing.T) {
	s, v := one(t, true)
	writertest.Run(t, func(t *testing.T) *writertest.World {
		return &writertest.World{
			Writer: newWriter(t, marks(t), s.Dir), Volumes: v,
			Frozen: func() bool { sync, _ := settings(t, s); return sync == "always" },
			Restore: func() {
				Run(t, "sh", "-c",
					"cp -a "+s.Dir+"/appendonlydir.before-restore-*/. "+s.Dir+"/appendonlydir")
			},
		}
	})
}
