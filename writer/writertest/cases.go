package writertest

import (
	"context"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// backup lists the events of a backup, in their order.
var backup = []writer.Handler{
	writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot,
	writer.OnBackupComplete, writer.OnBackupShutdown,
}

// testCase is one case of the suite.
type testCase struct {
	name      string
	inProcess bool // the writer is hurried, which can't be done to one in another process
	run       func(k *caseRun)
}

// dress changes the writer for the case.
func (c *testCase) dress(w writer.Writer) writer.Writer {
	if c.inProcess {
		return &hurried{w}
	}
	return w
}

var cases = []*testCase{
	{"Info is complete and repeatable", false, func(k *caseRun) {
		first, err := k.w.Info(k.t.Context())
		if err != nil {
			k.t.Fatal(err)
		}
		if again, err := k.w.Info(k.t.Context()); err != nil || again != first {
			k.t.Errorf("the second call returned %+v, %v; the first %+v", again, err, first)
		}
		if first.FreezeTimeout <= 0 || first.FreezeTimeout > writer.DefaultFreezeTimeout ||
			first.Level == vss.LevelUnknown {
			k.t.Errorf("a default is not filled in: %+v", first)
		}
	}},
	{"Identify is repeatable and changes nothing", false, func(k *caseRun) {
		first := k.identify()
		xml, err := first.XML()
		if err != nil {
			k.t.Fatal(err)
		}
		if _, err := document.ParseMetadata(xml); err != nil {
			k.t.Errorf("its document is invalid: %v", err)
		}
		s := k.session(true)
		for _, h := range backup {
			s.must(h)
			if again, err := k.identify().XML(); err != nil || string(again) != string(xml) {
				k.t.Errorf("after %s: %v\n%s", h, err, cmp.Diff(string(xml), string(again)))
			}
		}
	}},
	{"a backup", false, func(k *caseRun) { k.backup(k.session(true)) }},
	{"a backup without components", false, func(k *caseRun) { k.backup(k.session(false)) }},
	{"a backup without a set", false, func(k *caseRun) {
		k.session(true).must(writer.OnPrepareBackup, writer.OnBackupComplete, writer.OnBackupShutdown)
		k.checkFrozen("at the end", false)
	}},
	{"abort after every step, twice", false, func(k *caseRun) {
		for n := range 5 { // PostSnapshot ends what can be aborted
			s := k.session(true)
			s.must(backup[:n]...)
			s.must(writer.OnAbort, writer.OnAbort)
			k.checkFrozen("aborted", false)
			s.must(writer.OnBackupShutdown)
		}
		k.backup(k.session(true))
	}},
	{"the requester leaves after every step", false, func(k *caseRun) {
		for n := range len(backup) {
			s := k.session(true)
			s.must(backup[:n]...)
			s.must(writer.OnBackupShutdown)
			k.checkFrozen("after BackupShutdown", false)
		}
		k.backup(k.session(true))
	}},
	{"events out of order", false, func(k *caseRun) {
		for n := range len(backup) - 2 {
			s := k.session(true)
			s.must(backup[:n]...)
			for i, h := range backup[:5] {
				// PrepareBackup may come again, PrepareSnapshot without it, and Thaw again.
				if i == n || n < 2 && i < 2 || n == 4 && h == writer.OnThaw {
					continue
				}
				s.wants(h, vss.ErrWriterErrorNonRetryable)
				k.checkFrozen(h.String()+" out of order", n == 3)
			}
			s.must(backup[n:]...)
		}
	}},
	{"Thaw comes twice", false, func(k *caseRun) {
		s := k.session(true)
		s.must(backup[:4]...)
		s.must(writer.OnThaw)
		k.checkFrozen("thawed", false)
		s.must(backup[4:]...)
	}},
	{"two sessions at once", false, func(k *caseRun) {
		a, b := k.session(true), k.session(false)
		a.must(backup[:5]...)
		k.backup(b)
		a.must(backup[5:]...)
		a, b = k.session(true), k.session(true)
		a.must(backup[:2]...)
		b.must(backup[:1]...)
		b.must(writer.OnAbort)
		a.must(backup[2:]...)
		k.checkFrozen("at the end", false)
	}},
	{"unknown sessions", false, func(k *caseRun) {
		k.session(false).must(writer.OnAbort)
		k.session(false).must(writer.OnBackupShutdown)
		k.session(false).wants(writer.OnThaw, vss.ErrWriterErrorNonRetryable)
		k.checkFrozen("at the end", false)
	}},
	{"cancelled calls", false, func(k *caseRun) {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		for n, h := range backup[:5] {
			s := k.session(true)
			s.must(backup[:n]...)
			if code := vss.CodeOf(s.send(gone, h)); code != vss.ErrWriterNotResponding && code != vss.OK {
				k.t.Errorf("%s: %s", h, code.Name())
			}
			s.must(writer.OnAbort, writer.OnBackupShutdown)
			k.waitThawed("after " + h.String())
		}
		k.backup(k.session(true))
	}},
	{"the freeze window ends", true, func(k *caseRun) {
		s := k.session(true)
		s.must(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
		err := s.send(k.t.Context(), writer.OnFreeze)
		if code := vss.CodeOf(err); code != vss.OK && code != vss.ErrWriterErrorTimeout {
			k.t.Errorf("Freeze: %v", err)
		}
		time.Sleep(2 * hurry)
		k.waitThawed("after the window")
		if err == nil {
			s.wants(writer.OnThaw, vss.ErrWriterErrorTimeout)
		}
		s.must(writer.OnAbort, writer.OnBackupShutdown)
		k.checkFrozen("at the end", false)
	}},
	{"the service ends while the writer is frozen", false, func(k *caseRun) {
		k.session(true).must(backup[:3]...)
		k.checkFrozen("after Freeze", true)
		k.leave()
		k.waitThawed("after the service ended")
	}},
	{"a restore", false, func(k *caseRun) {
		m := k.identify()
		if m.RestoreMethod == nil || m.RestoreMethod.WriterRestore <= vss.WriterRestoreNever {
			return // by its metadata it takes no part in restores
		}
		saved, s := k.session(true), k.session(true)
		k.backup(saved)
		s.components = saved.components // a restore has the document of the backup
		for _, c := range s.components.Components {
			c.BackupSucceeded, c.SelectedForRestore, c.FileRestoreStatus = true, true, vss.RestoredAll
		}
		s.must(writer.OnPreRestore)
		if k.Restore != nil {
			k.Restore()
		}
		s.must(writer.OnPostRestore)
		k.backup(k.session(true))
	}},
}

// backup runs a backup from its first event to its last.
func (k *caseRun) backup(s *session) {
	k.t.Helper()
	k.checkFrozen("before", false)
	s.must(backup[:3]...)
	k.checkFrozen("after Freeze", true)
	s.must(backup[3])
	k.checkFrozen("after Thaw", false)
	s.must(backup[4:]...)
	k.checkFrozen("at the end", false)
}

// hurry is the window of a hurried writer, long enough that a slow machine doesn't end it.
const hurry = 300 * time.Millisecond

// hurried is a writer with a short window.
type hurried struct{ writer.Writer }

// Info implements writer.Writer.
func (h *hurried) Info(ctx context.Context) (writer.Info, error) {
	i, err := h.Writer.Info(ctx)
	i.FreezeTimeout = hurry
	return i, err
}
