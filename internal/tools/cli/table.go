package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/stillpoint-vss/stillpoint/requester"
)

// Table prints rows in aligned columns below a header. If there are no rows it prints none.
func (t *Tool) Table(none string, header []string, rows [][]string) {
	if len(rows) == 0 {
		fmt.Fprintln(t.Stdout, none)
		return
	}
	w := tabwriter.NewWriter(t.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
}

// Dash returns s, or "-" for an empty cell of a table.
func Dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// PrintCopies prints a table of shadow copies.
func (t *Tool) PrintCopies(list []requester.Snapshot) {
	header := []string{"COPY", "VOLUME", "CREATED", "CONTEXT", "CONSISTENCY", "PROVIDER", "DEVICE", "PATH"}
	t.Table("There are no shadow copies.", header, Each(list, func(s requester.Snapshot) []string {
		return []string{
			s.ID.String(), s.OriginalVolume, s.Created.Local().Format(time.DateTime), s.Attributes.ContextName(),
			s.Consistency, s.ProviderName, Dash(s.DeviceObject), Dash(s.Path),
		}
	}))
}

// PrintWriters prints a table of writers.
func (t *Tool) PrintWriters(list []requester.WriterStatus) {
	header := []string{"WRITER", "ID", "STATE", "LEVEL", "FROZEN", "COMPONENTS", "LAST ERROR"}
	t.Table("There are no writers.", header, Each(list, func(w requester.WriterStatus) []string {
		return []string{
			w.Name, w.ID.String(), w.State.String(), Dash(w.Level), fmt.Sprintf("%.0f ms", Milliseconds(w.Frozen)),
			fmt.Sprint(w.Components), WriterFailure(w),
		}
	}))
}

// WriterFailure returns the failure of a writer as text, "no error" if it has not failed.
func WriterFailure(w requester.WriterStatus) string {
	if !w.Failure.Failed() {
		return "no error"
	}
	return strings.TrimRight(w.Failure.Name()+": "+w.Message, ": ")
}

// PrintSet prints a set: its copies, its writers and the timeline of its creation.
func (t *Tool) PrintSet(s requester.SnapshotSet) {
	fmt.Fprintf(t.Stdout, "Shadow copy set %v, %s, %s consistent\n", s.ID, s.Context.ContextName(), s.Consistency)
	if s.ConsistencyReason != "" {
		fmt.Fprintf(t.Stdout, "  %s\n", s.ConsistencyReason)
	}
	if len(s.Timeline) > 0 { // it is empty if the set was imported
		fmt.Fprintf(t.Stdout, "Writes were held for %.1f ms; writers were frozen for %.1f ms\n",
			Milliseconds(s.Hold), Milliseconds(s.WriterWindow))
	}
	fmt.Fprintln(t.Stdout)
	t.PrintCopies(s.Snapshots)
	if len(s.Writers) > 0 {
		fmt.Fprintln(t.Stdout)
		t.PrintWriters(s.Writers)
	}
	if len(s.Timeline) > 0 {
		fmt.Fprintln(t.Stdout)
		t.PrintTimeline(s.Timeline)
	}
}

// PrintTimeline prints the steps of a creation, each with a bar for its time.
func (t *Tool) PrintTimeline(steps []requester.Step) {
	const width = 40
	end := time.Duration(1)
	for _, s := range steps {
		end = max(end, s.End)
	}
	t.Table("", []string{"STEP", "START", "TOOK", ""}, Each(steps, func(s requester.Step) []string {
		from := min(int(width*s.Start/end), width-1)
		to := max(int(width*s.End/end), from+1)
		bar := strings.Repeat(" ", from) + strings.Repeat("#", to-from) + strings.Repeat(" ", width-to)
		return []string{
			s.Name, fmt.Sprintf("%.1f", Milliseconds(s.Start)), fmt.Sprintf("%.1f ms", Milliseconds(s.End-s.Start)),
			"|" + bar + "|",
		}
	}))
}
