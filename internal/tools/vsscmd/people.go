package vsscmd

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/stillpoint-vss/stillpoint/requester"
)

// patience is how long something may take before a progress line is shown.
const patience = time.Second

// table prints aligned columns; without rows it says so.
func (a *app) table(none string, header []string, rows [][]string) {
	if len(rows) == 0 {
		fmt.Fprintln(a.stdout, none)
		return
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) copies(list []requester.Snapshot) {
	rows := each(list, func(s requester.Snapshot) []string {
		return []string{s.ID.String(), s.OriginalVolume, s.Created.Local().Format(time.DateTime), s.Attributes.ContextName(), s.Consistency, s.ProviderName, dash(s.DeviceObject), dash(s.Path)}
	})
	a.table("There are no shadow copies.", []string{"COPY", "VOLUME", "CREATED", "CONTEXT", "CONSISTENCY", "PROVIDER", "DEVICE", "PATH"}, rows)
}

func (a *app) writers(list []requester.WriterStatus) {
	rows := each(list, func(w requester.WriterStatus) []string {
		fault := "no error"
		if w.Failure.Failed() {
			fault = strings.TrimRight(w.Failure.Name()+": "+w.Message, ": ")
		}
		return []string{w.Name, w.ID.String(), w.State.String(), dash(w.Level), fmt.Sprintf("%.0f ms", milliseconds(w.Frozen)), fmt.Sprint(w.Components), fault}
	})
	a.table("No writers took part.", []string{"WRITER", "ID", "STATE", "LEVEL", "FROZEN", "COMPONENTS", "LAST ERROR"}, rows)
}

// set prints a set and how its creation went.
func (a *app) set(s requester.SnapshotSet) {
	fmt.Fprintf(a.stdout, "Shadow copy set %v, %s, %s consistent\n", s.ID, s.Context.ContextName(), s.Consistency)
	if s.ConsistencyReason != "" {
		fmt.Fprintf(a.stdout, "  %s\n", s.ConsistencyReason)
	}
	if len(s.Timeline) > 0 { // an imported set was made by another host
		fmt.Fprintf(a.stdout, "Writes were held for %.1f ms; writers were frozen for %.1f ms\n", milliseconds(s.Hold), milliseconds(s.WriterWindow))
	}
	fmt.Fprintln(a.stdout)
	a.copies(s.Snapshots)
	if len(s.Writers) > 0 {
		fmt.Fprintln(a.stdout)
		a.writers(s.Writers)
	}
	if len(s.Timeline) > 0 {
		fmt.Fprintln(a.stdout)
		a.timeline(s.Timeline)
	}
}

// timeline draws each step as a bar.
func (a *app) timeline(steps []requester.Step) {
	const width = 40
	end := time.Duration(1)
	for _, s := range steps {
		end = max(end, s.End)
	}
	rows := each(steps, func(s requester.Step) []string {
		from := min(int(width*s.Start/end), width-1)
		to := max(int(width*s.End/end), from+1)
		bar := strings.Repeat(" ", from) + strings.Repeat("#", to-from)
		return []string{s.Name, fmt.Sprintf("%.1f", milliseconds(s.Start)), fmt.Sprintf("%.1f ms", milliseconds(s.End-s.Start)), "|" + bar + strings.Repeat(" ", width-to) + "|"}
	})
	a.table("", []string{"STEP", "START", "TOOK", ""}, rows)
}

// progress shows on a terminal what takes longer than a second. End takes the line away.
func (a *app) progress() (show requester.Progress, end func()) {
	f, ok := a.stderr.(*os.File)
	if !ok || a.json || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	began := time.Now()
	var mu sync.Mutex
	drawn := false
	show = func(step string, percent float64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(began) < patience {
			return
		}
		drawn = true
		n := min(max(int(percent/5), 0), 20)
		fmt.Fprintf(f, "\r\x1b[K[%s%s] %3.0f%% %s", strings.Repeat("#", n), strings.Repeat(".", 20-n), percent, step)
	}
	return show, func() {
		mu.Lock()
		defer mu.Unlock()
		if drawn {
			fmt.Fprint(f, "\r\x1b[K")
		}
	}
}
