package vss

import (
	"encoding"
	"errors"
	"fmt"
	"testing"
)

// Names that commands print and documents hold: one line an enumeration, in the order of the numbers.
func TestNames(t *testing.T) {
	list := func(n int, f func(int) fmt.Stringer) []string {
		var out []string
		for i := range n {
			out = append(out, f(i).String())
		}
		return out
	}
	for _, tc := range []struct {
		enum string
		of   func(int) fmt.Stringer
		want []string
	}{
		{"snapshot state", func(i int) fmt.Stringer { return SnapshotState(i) }, []string{
			"unknown", "preparing", "processing-prepare", "prepared", "processing-precommit", "precommitted",
			"processing-commit", "committed",
			"processing-postcommit", "processing-prefinalcommit", "prefinalcommitted", "processing-postfinalcommit",
			"created", "aborted", "deleted", "postcommitted",
		}},
		{"writer state", func(i int) fmt.Stringer { return WriterState(i) }, []string{
			"unknown", "stable", "waiting-for-freeze", "waiting-for-thaw", "waiting-for-post-snapshot",
			"waiting-for-backup-complete",
			"failed-at-identify", "failed-at-prepare-backup", "failed-at-prepare-snapshot", "failed-at-freeze",
			"failed-at-thaw",
			"failed-at-post-snapshot", "failed-at-backup-complete", "failed-at-pre-restore", "failed-at-post-restore",
			"failed-at-backup-shutdown",
		}},
		{"level", func(i int) fmt.Stringer { return ApplicationLevel(i) },
			[]string{"unknown", "system", "back-end", "front-end", "system-rm"}},
		{"provider", func(i int) fmt.Stringer { return ProviderType(i) },
			[]string{"unknown", "system", "software", "hardware", "fileshare"}},
		{"backup", func(i int) fmt.Stringer { return BackupType(i) },
			[]string{"undefined", "full", "incremental", "differential", "log", "copy", "other"}},
		{"consistency", func(i int) fmt.Stringer { return Consistency(i) },
			[]string{"crash", "file-system", "application"}},
		{"usage", func(i int) fmt.Stringer { return UsageType(i) },
			[]string{"undefined", "bootable-system-state", "system-service", "user-data", "other"}},
		{"source", func(i int) fmt.Stringer { return SourceType(i) },
			[]string{"undefined", "transacted-db", "non-transacted-db", "other"}},
		{"component", func(i int) fmt.Stringer { return ComponentType(i) },
			[]string{"undefined", "database", "filegroup"}},
		{"restore", func(i int) fmt.Stringer { return RestoreType(i) },
			[]string{"undefined", "by-copy", "import", "other"}},
		{"roll forward", func(i int) fmt.Stringer { return RollForwardType(i) },
			[]string{"undefined", "none", "all", "partial"}},
		{"writer restore", func(i int) fmt.Stringer { return WriterRestore(i) },
			[]string{"undefined", "never", "if-replace-fails", "always"}},
		{"target", func(i int) fmt.Stringer { return RestoreTarget(i) },
			[]string{"undefined", "original", "alternate", "directed", "original-location"}},
		{"restored", func(i int) fmt.Stringer { return FileRestoreStatus(i) },
			[]string{"undefined", "none", "all", "failed"}},
		{"method", func(i int) fmt.Stringer { return RestoreMethod(i) }, []string{
			"undefined", "if-not-there", "if-can-replace", "stop-restore-start", "to-alternate-location", "at-reboot",
			"at-reboot-if-cannot-replace", "custom", "restore-stop-start",
		}},
		{"protection", func(i int) fmt.Stringer { return ProtectionLevel(i) }, []string{"original-volume", "snapshot"}},
		{"fault", func(i int) fmt.Stringer { return ProtectionFault(i) }, []string{
			"none", "diff-area-missing", "io-failure-during-online", "meta-data-corruption",
			"memory-allocation-failure", "mapped-memory-failure",
			"cow-read-failure", "cow-write-failure", "diff-area-full", "grow-too-slow", "grow-failed",
			"destroy-all-snapshots", "file-system-failure",
			"io-failure", "diff-area-removed", "external-writer-to-diff-area", "mount-during-cluster-offline",
		}},
	} {
		got := list(len(tc.want), tc.of)
		for i := range tc.want {
			if got[i] != tc.want[i] {
				t.Errorf("%s %d: got %q, want %q", tc.enum, i, got[i], tc.want[i])
			}
		}
		for _, beyond := range []int{-1, len(tc.want)} {
			if s := tc.of(beyond).String(); s != "unknown" {
				t.Errorf("%s %d: %q", tc.enum, beyond, s)
			}
		}
	}
}

func TestWriterStateFailed(t *testing.T) {
	for s := range WriterState(17) {
		if want := s >= 6 && s <= 15; s.Failed() != want {
			t.Errorf("%s: %v", s, !want)
		}
	}
}

func TestConsistencyByName(t *testing.T) {
	for c := range Consistency(3) {
		if got, err := ConsistencyByName(c.String()); err != nil || got != c {
			t.Errorf("%s: %v, %v", c, got, err)
		}
	}
	if _, err := ConsistencyByName("none"); !errors.Is(err, ErrInvalidArg) {
		t.Error(err)
	}
}

// What is written as a text is read as the same number, and a name that isn't one is refused.
func TestTexts(t *testing.T) {
	for _, v := range []struct {
		enum    string
		written encoding.TextMarshaler
		read    interface {
			encoding.TextUnmarshaler
			fmt.Stringer
		}
	}{
		{"usage", UsageUserData, new(UsageType)},
		{"source", SourceNonTransactedDB, new(SourceType)},
		{"component", ComponentFileGroup, new(ComponentType)},
		{"method", RestoreStopStart, new(RestoreMethod)},
		{"writer restore", WriterRestoreAlways, new(WriterRestore)},
		{"target", TargetOriginalLocation, new(RestoreTarget)},
		{"restored", RestoredFailed, new(FileRestoreStatus)},
		{"roll forward", RollForwardPartial, new(RollForwardType)},
	} {
		b, err := v.written.MarshalText()
		if err != nil {
			t.Errorf("%s: %v", v.enum, err)
		}
		if err := v.read.UnmarshalText(b); err != nil || v.read.String() != string(b) || string(b) == "undefined" {
			t.Errorf("%s: %q became %q, %v", v.enum, b, v.read, err)
		}
		if err := v.read.UnmarshalText([]byte("nonsense")); !errors.Is(err, ErrInvalidArg) ||
			v.read.String() != string(b) {
			t.Errorf("%s: nonsense became %q, %v", v.enum, v.read, err)
		}
	}
	if b, err := UsageType(77).MarshalText(); !errors.Is(err, ErrInvalidArg) {
		t.Errorf("a number without name became %q, %v", b, err)
	}
}
