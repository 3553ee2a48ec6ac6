package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// A file that the first version wrote is read by all later ones; the fields that it doesn't have are empty.
func TestFormat1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	b, err := os.ReadFile("testdata/format1.db")
	must(t, err)
	must(t, os.WriteFile(path, b, 0o600))
	s := open(t, path)
	wantMembers(t, s)
	then := sampleBreak(1)
	then.ReadWrite = false
	if d := cmp.Diff([]Break{then}, read(t, s, (*Tx).Breaks)); d != "" {
		t.Error(d)
	}
	set, creation := sampleSet(1), sampleCreation(2)
	set.Finishing, creation.Suspended = false, nil
	copies := []Snapshot{sampleSnapshot(11, 1), sampleSnapshot(12, 1)}
	for i := range copies {
		c := &copies[i]
		c.Local, c.FirstCut, c.LastCut = nil, time.Time{}, time.Time{}
		c.SubvolumeID, c.NoExec = "", false
	}
	for _, d := range []string{
		cmp.Diff([]Set{set}, read(t, s, sets)), cmp.Diff(copies, read(t, s, (*Tx).Snapshots)),
		cmp.Diff([]Creation{creation}, read(t, s, (*Tx).Creations)),
	} {
		if d != "" {
			t.Error(d)
		}
	}
	must(t, s.Update(func(tx *Tx) error {
		return errors.Join(tx.PutSet(sampleSet(1)), tx.PutSnapshot(sampleSnapshot(11, 1)),
			tx.PutSnapshot(sampleSnapshot(12, 1)),
			tx.PutCreation(sampleCreation(2)), tx.PutBreak(sampleBreak(1)))
	}))
	wantFilled(t, s)
	must(t, s.Update(func(tx *Tx) error {
		if n, err := tx.NextDevice(); n != 2 || err != nil {
			t.Errorf("device number %d, %v", n, err)
		}
		return tx.PutSet(sampleSet(3))
	}))
}

// filled is a closed catalogue with everything in it.
func filled(t testing.TB) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "catalog.db")
	s, err := Open(path)
	must(t, err)
	fill(t, s)
	must(t, s.Close())
	content, err = os.ReadFile(path)
	must(t, err)
	return path, content
}

func TestRefusedFilesStayAsTheyAre(t *testing.T) {
	bucket := func(name string, do func(b *bolt.Bucket) error) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			return errors.Join(err, do(b))
		}
	}
	format := func(v string) func(*bolt.Tx) error {
		return bucket("meta", func(b *bolt.Bucket) error { return b.Put(keyFormat, []byte(v)) })
	}
	for _, c := range []struct {
		name string
		edit func(*bolt.Tx) error
		want vss.Code
	}{
		{"the next format", format(fmt.Sprint(Format + 1)), vss.ErrNotSupported},
		{"a format far away", format("4000000000"), vss.ErrNotSupported},
		{"a format beyond numbers", format(strings.Repeat("9", 40)), vss.ErrNotSupported},
		{"a format that is text", format("2.1-beta"), vss.ErrNotSupported},
		{"an empty format", format(""), vss.ErrNotSupported},
		{"a format from before the first", format("0"), vss.ErrNotSupported},
		{"no format", bucket("meta", func(b *bolt.Bucket) error { return b.Delete(keyFormat) }), vss.ErrUnexpected},
		{"another program's file", func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketMeta) }, vss.ErrUnexpected},
		{"a bucket within a bucket", bucket("sets", func(b *bolt.Bucket) error {
			_, err := b.CreateBucket([]byte("x"))
			return err
		}), vss.ErrUnexpected},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, _ := filled(t)
			db, err := bolt.Open(path, 0o600, nil)
			must(t, err)
			must(t, db.Update(c.edit))
			must(t, db.Close())
			refused(t, path, c.want)
		})
	}
}

// refused checks that a file can't be opened, that nothing about it changes, and that nobody keeps it locked.
func refused(t testing.TB, path string, want vss.Code) {
	t.Helper()
	before, err := os.ReadFile(path)
	must(t, err)
	stat, err := os.Stat(path)
	must(t, err)
	s, err := Open(path)
	if err == nil {
		s.Close()
	}
	wantCode(t, err, want)
	after, err := os.ReadFile(path)
	must(t, err)
	if now, _ := os.Stat(path); !bytes.Equal(before, after) || !now.ModTime().Equal(stat.ModTime()) {
		t.Error("a file that was refused was changed")
	}
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("a file that was refused stays locked: %v", err)
	}
}

func TestDamagedFile(t *testing.T) {
	path, good := filled(t)
	page, size := os.Getpagesize(), used(t, path)
	for _, c := range []struct {
		name string
		make func() []byte
	}{
		{"text", func() []byte { return []byte("this isn't a database") }},
		{"one byte", func() []byte { return []byte{0} }},
		{"zeros", func() []byte { return make([]byte, len(good)) }},
		{"both heads overwritten",
			func() []byte { return append(bytes.Repeat([]byte{0xa5}, 2*page), good[2*page:]...) }},
		{"cut to the heads", func() []byte { return good[:2*page] }},
		{"the last page gone", func() []byte { return good[:size-page] }},
		{"cut in the middle of a page", func() []byte { return good[:size-page/2] }},
		{"all data overwritten",
			func() []byte { return append(good[:2*page:2*page], bytes.Repeat([]byte{0xff}, len(good)-2*page)...) }},
		{"all data zeroed", func() []byte { return append(good[:2*page:2*page], make([]byte, len(good)-2*page)...) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			must(t, os.WriteFile(path, c.make(), 0o600))
			refused(t, path, vss.ErrUnexpected)
		})
	}

	// Any page, and any byte that says how a page is laid out: it opens with all that it had, or it says that it can't.
	t.Run("at random", func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		opened := 0
		for i := range 300 {
			b := bytes.Clone(good)
			at := random.IntN(size)
			if i%2 == 0 {
				at = at/page*page + random.IntN(64) // the page's head
			}
			b[at] ^= byte(1 + random.IntN(255))
			must(t, os.WriteFile(path, b, 0o600))
			s, err := Open(path)
			if err != nil {
				wantCode(t, err, vss.CodeOf(err))
				continue
			}
			opened++
			err = s.View(func(tx *Tx) error {
				_, err1 := sets(tx)
				_, err2 := tx.Snapshots()
				_, err3 := tx.Creations()
				_, err4 := tx.Breaks()
				_, err5 := tx.Events(time.Time{})
				_, err6 := tx.SnapshotsOf(setID(1))
				return errors.Join(err1, err2, err3, err4, err5, err6)
			})
			if err != nil && vss.Hint(err) == "" {
				t.Errorf("byte %d: %v doesn't say what to do next", at, err)
			}
			must(t, s.Close())
		}
		if opened == 0 || opened == 300 {
			t.Errorf("%d of 300 damaged files were opened: the damage isn't where it was meant to be", opened)
		}
	})
}

// used is how many bytes of a catalogue its pages take.
func used(t testing.TB, path string) int {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int64
	must(t, db.View(func(tx *bolt.Tx) error {
		n = tx.Size()
		return nil
	}))
	return int(n)
}

// The service that made it died before its first write.
func TestEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	must(t, os.WriteFile(path, nil, 0o600))
	s := open(t, path)
	fill(t, s)
	wantFilled(t, s)
}

func TestNotToBeOpened(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for name, path := range map[string]string{"a directory": dir, "below a file": filepath.Join(file, "catalog.db")} {
		_, err := Open(path)
		if vss.CodeOf(err) != vss.ErrUnexpected {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecondOpener(t *testing.T) {
	s := fresh(t)
	fill(t, s)
	path := s.db.Path()
	_, err := Open(path)
	wantCode(t, err, vss.ErrBadState)

	// Nor does another process get it; its error names the process to stop.
	out, err := child(t, "open", path).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "VSS_E_BAD_STATE") {
		t.Errorf("a second process: %v, %q", err, out)
	}
	wantFilled(t, s)
	must(t, s.Close())
	if out, err := child(t, "open", path).CombinedOutput(); err != nil {
		t.Errorf("after the first has closed it: %v, %s", err, out)
	}
}

// A service that ends while its successor starts is waited for.
func TestOpenWaitsForTheLast(t *testing.T) {
	s := fresh(t)
	time.AfterFunc(200*time.Millisecond, func() { s.Close() })
	next, err := Open(s.db.Path())
	must(t, err)
	must(t, next.Close())
}

// A full file system fails the update and loses nothing; with room again, it goes on.
func TestFullFileSystem(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"))
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	s, err := Open(filepath.Join(dir, "catalog.db"))
	must(t, err)
	defer s.Close()
	stored := 0
	for ; ; stored++ {
		err = s.Update(func(tx *Tx) error { return tx.PutSnapshot(sampleSnapshot(stored, 1)) })
		if err != nil {
			break
		}
	}
	wantCode(t, err, vss.ErrUnexpected)
	if !errors.Is(err, unix.ENOSPC) || stored == 0 {
		t.Fatalf("%d stored, then %v", stored, err)
	}
	if n := len(read(t, s, (*Tx).Snapshots)); n != stored {
		t.Errorf("%d copies after the failure, %d were stored", n, stored)
	}
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=8m"))
	must(t, s.Update(func(tx *Tx) error { return tx.PutSnapshot(sampleSnapshot(stored, 1)) }))
	must(t, s.Close())
	damage, err := check(s.db.Path())
	if err != nil || damage != "" {
		t.Errorf("%q, %v", damage, err)
	}
}

// child is this test binary as another process that does what TestMain knows by that name.
func child(t testing.TB, what, path string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), "CATALOG_CHILD="+what, "CATALOG="+path)
	return c
}

// TestFlippedHead: a catalogue of which one of the two heads is damaged is opened as it was before, and says so; one
// of which both are is refused (trust 9).
func TestFlippedHead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	s, err := Open(path)
	must(t, err)
	fill(t, s)
	must(t, s.Update(func(tx *Tx) error { return tx.PutSet(sampleSet(3)) }))
	size := s.db.Info().PageSize
	must(t, s.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	heads := map[int]int{} // by the number of sets that are left
	for range 40 {
		page, bit := rand.IntN(2), rand.IntN(8*headSize)
		b := bytes.Clone(content)
		b[page*size+pageHeader+bit/8] ^= 1 << (bit % 8)
		must(t, os.WriteFile(path, b, 0o600))
		s, err := Open(path)
		must(t, err)
		if s.Damage() != path {
			t.Errorf("bit %d of head %d: not noticed", bit, page)
		}
		heads[len(read(t, s, sets))]++
		must(t, s.Close())
		if s = open(t, path); s.Damage() != "" {
			t.Errorf("bit %d of head %d: still damaged after a change", bit, page)
		}
		must(t, s.Close())
	}
	if heads[1] == 0 || heads[2] == 0 || heads[1]+heads[2] != 40 {
		t.Errorf("sets left: %v", heads)
	}
	b := bytes.Clone(content)
	b[pageHeader+headRoot] ^= 1
	b[size+pageHeader+headRoot] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	_, err = Open(path)
	wantCode(t, err, vss.ErrUnexpected)
}
