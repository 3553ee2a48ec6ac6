package writer_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// columns are the events of the reference's state table.
var columns = []writer.Handler{
	writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot,
	writer.OnBackupComplete, writer.OnBackupShutdown, writer.OnAbort, writer.OnPreRestore, writer.OnPostRestore,
}

// cell is what an event does: whom the writer hears, the result, and the states after success and after failure.
type cell struct {
	calls      []string
	code       vss.Code
	ok, failed vss.WriterState
}

const stay, gone = vss.WriterState(-1), vss.WriterUnknown

// ok: the handler is called; fail gives the state after a failure.
func ok(h writer.Handler, to, failed vss.WriterState) cell {
	return cell{[]string{h.String()}, vss.OK, to, failed}
}

var (
	x    = cell{nil, vss.ErrWriterErrorNonRetryable, stay, stay} // a protocol error
	no   = cell{nil, vss.OK, stay, stay}                         // not delivered
	end  = cell{[]string{"BackupShutdown"}, vss.OK, gone, gone}
	undo = cell{[]string{"Abort", "BackupShutdown"}, vss.OK, gone, gone}
)

func to(h writer.Handler, state vss.WriterState) cell { return ok(h, state, state) }

// step is one event on the way to a state; act, if any, is what the writer does in it.
type step struct {
	h   writer.Handler
	act writertest.Act
}

func through(h writer.Handler) []step {
	var way []step
	for _, c := range columns {
		way = append(way, step{c, nil})
		if c == h {
			break
		}
	}
	return way
}

func failing(h writer.Handler, act writertest.Act) []step {
	way := through(h)
	way[len(way)-1].act = act
	return way
}

var veto, fatal = writertest.Veto(vss.ErrWriterErrorRetryable,
	"busy"), writertest.Fail(vss.ErrWriterErrorOutOfResources, errors.New("full"))

// TestTable sends every event in every state. Rows and columns are those of the state table in the writer's
// reference; the one cell that differs from it is marked.
func TestTable(t *testing.T) {
	const (
		stable, waitFreeze, waitThaw, waitPost, waitComplete = 1, 2, 3, 4, 5
	)
	thaw, post := writer.OnThaw, writer.OnPostSnapshot
	complete, abort := writer.OnBackupComplete, writer.OnAbort
	failed := func(state vss.WriterState, thaws, posts cell) []cell {
		return []cell{no, no, no, thaws, posts, no, end, to(abort, state), no, no}
	}
	last := []cell{no, no, no, no, no, no, end, no, no, no}
	for _, r := range []struct {
		name  string
		way   []step
		state vss.WriterState
		cells []cell
	}{
		{"stable, new", nil, gone, []cell{
			ok(0, stable, 7), ok(1, waitFreeze, 8), x, x, x, ok(complete, stable, 12), end, to(abort, gone),
			ok(8, stable, 13), ok(9, stable, 14)}},
		{"stable", through(writer.OnPrepareBackup), stable, []cell{
			ok(0, stable, 7), ok(1, waitFreeze, 8), x, x, x, ok(complete, stable, 12), end, to(abort, stable),
			ok(8, stable, 13), ok(9, stable, 14)}},
		{"waiting for freeze", through(writer.OnPrepareSnapshot), waitFreeze, []cell{
			x, x, ok(2, waitThaw, 9), x, x, x, undo, to(abort, stable), x, x}},
		{"waiting for thaw", through(writer.OnFreeze), waitThaw, []cell{
			x, x, x, ok(thaw, waitPost, 10), x, x, undo, to(abort, stable), x, x}},
		{"waiting for thaw, timed out", append(through(writer.OnFreeze), step{h: -1}), waitThaw, []cell{
			x, x, x, {nil, vss.ErrWriterErrorTimeout, 10, 10}, x, x, end, to(abort, 10), x, x}},
		{"waiting for post-snapshot", through(writer.OnThaw), waitPost, []cell{
			x, x, x, no /* the reference: x */, ok(post, waitComplete, 11), x, end, to(abort, stable), x, x}},
		{"waiting for backup-complete", through(post), waitComplete, []cell{
			x, x, x, x, x, ok(complete, stable, 12), end, no, x, x}},
		{"vetoed prepare-backup", failing(writer.OnPrepareBackup, veto), 7, failed(7, no, no)},
		{"failed prepare-backup", failing(writer.OnPrepareBackup, fatal), 7, failed(7, no, no)},
		{"vetoed prepare-snapshot", failing(writer.OnPrepareSnapshot, veto), 8, failed(8, no, no)},
		{"failed prepare-snapshot", failing(writer.OnPrepareSnapshot, fatal), 8, failed(8, no, no)},
		// Freeze that returns true with a failure has succeeded as far as Thaw is concerned.
		{"vetoed freeze", failing(writer.OnFreeze, veto), 9, shutdown(failed(9, to(thaw, 9), no), undo)},
		{"failed freeze", failing(writer.OnFreeze, fatal), 9, shutdown(failed(9, no, no), undo)},
		{"vetoed freeze, thawn", append(failing(writer.OnFreeze, veto), step{h: thaw}), 9, failed(9, no, to(post, 9))},
		{"failed freeze, timed out", append(failing(writer.OnFreeze, fatal), step{h: -1}), 9, failed(9, no, no)},
		{"vetoed freeze, timed out", append(failing(writer.OnFreeze, veto), step{h: -1}), 9, failed(9, no, no)},
		{"vetoed thaw", failing(thaw, veto), 10, shutdown(failed(10, to(thaw, 10), no), undo)},
		{"failed thaw", failing(thaw, fatal), 10, shutdown(failed(10, to(thaw, 10), no), undo)},
		{"failed thaw, thawn", append(failing(thaw, fatal), step{h: thaw}), 10, failed(10, no, to(post, 10))},
		{"vetoed post-snapshot", failing(post, veto), 11, failed(11, no, no)},
		{"failed post-snapshot", failing(post, fatal), 11, failed(11, no, no)},
		{"failed backup-complete", failing(complete, fatal), 12, last},
		{"failed pre-restore", []step{{writer.OnPreRestore, fatal}}, 13,
			[]cell{no, no, no, no, no, no, end, no, no, to(writer.OnPostRestore, 13)}},
		{"failed post-restore", []step{{writer.OnPreRestore, nil}, {writer.OnPostRestore, fatal}}, 14, last},
	} {
		for i, h := range columns {
			for _, how := range []string{"ok", "veto", "error"} {
				t.Run(fmt.Sprintf("%s/%s/%s", r.name, h, how), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { tellOne(t, r.way, r.state, h, r.cells[i], how) })
				})
			}
		}
	}
}

func shutdown(cells []cell, c cell) []cell { cells[writer.OnBackupShutdown] = c; return cells }

// tellOne brings a writer to a state, sends one event and checks its cell.
func tellOne(t *testing.T, way []step, state vss.WriterState, h writer.Handler, want cell, how string) {
	r := writertest.NewRecorder("r")
	w := writer.Watch(r, slog.New(slog.NewTextHandler(t.Output(), nil)))
	id := vss.SessionID{GUID: vss.NewGUID()}
	for _, s := range way {
		if s.h < 0 {
			time.Sleep(2 * writer.DefaultFreezeTimeout)
			continue
		}
		r.At(s.h, s.act)
		err := s.h.Call(t.Context(), w, &writer.Event{Session: id})
		if s.act == nil && err != nil {
			t.Fatalf("on the way: %s: %v", s.h, err)
		}
		r.At(s.h, nil)
	}
	if got := writer.StateOf(w, id); got != state {
		t.Fatalf("the way leads to %s, not to %s", got, state)
	}
	before := len(r.Names(id))
	next, code := want.ok, want.code
	var vetoCode vss.Code
	delivered := want.calls != nil
	switch how {
	case "veto":
		r.At(h, veto)
		if delivered {
			next, vetoCode = want.failed, vss.ErrWriterErrorRetryable
		}
	case "error":
		r.At(h, fatal)
		if delivered {
			next, code = want.failed, vss.ErrWriterErrorOutOfResources
		}
	}
	if next == stay {
		next = state
	}
	e := &writer.Event{Session: id}
	err := h.Call(t.Context(), w, e)
	if got := vss.CodeOf(err); got != code {
		t.Errorf("result %v, want %s", err, code.Name())
	}
	if calls := r.Names(id)[before:]; !slices.Equal(calls, want.calls) {
		t.Errorf("the writer heard %v, want %v", calls, want.calls)
	}
	if got := writer.StateOf(w, id); got != next {
		t.Errorf("the state is %s, want %s", got, next)
	}
	switch {
	case vetoCode != vss.OK && (e.Failure == nil || e.Failure.Code != vetoCode):
		t.Errorf("the veto is lost: %+v", e.Failure)
	case !delivered && code == vss.OK && state.Failed() && (e.Failure == nil || e.Failure.Code == vss.OK):
		t.Error("an event that a failed writer does not receive returned no failure")
	}
	_ = w.Close()
}
