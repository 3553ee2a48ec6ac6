package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestAutoRecovery: a writer recovers its data in the copy and deletes there what is not to be in it, before the copy
// turns read-only. The original isn't touched, and without recovery the copy can't be.
func TestAutoRecovery(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs"} {
		t.Run(fs, func(t *testing.T) {
			w := newWorld(t)
			hook := filepath.Join(w.dir, "hook")
			if err := os.MkdirAll(hook, 0o755); err != nil {
				t.Fatal(err)
			}
			w.configure(fmt.Sprintf("[writers]\nhooks = [%q]\n", hook))
			point := filepath.Join(w.dir, "mnt-a")
			for name, text := range map[string]string{
				"writer.toml": "id = \"7c1f0e52-88a1-4a57-9a0c-0a4b9d1c7e01\"\nname = \"Recovering\"\n",
				"identify": fmt.Sprintf(`#!/bin/sh
echo '{"components":[{"type":"filegroup","name":"app","logical_path":"","selectable":true,"flags":1,
"files":[{"path":"%s","filespec":"*","recursive":true}]}],
"exclude_files_from_snapshot":[{"path":"%s","filespec":"temp"}]}'
`, point, point),
				"post-snapshot": `#!/bin/sh
set -e
[ "$VSS_WRITABLE" = yes ] || exit 0
at=$(mktemp -d)
mount ` + map[string]string{"ext4": "", "xfs": "-o nouuid"}[fs] + ` "$VSS_DEVICE_1" "$at"
rm "$at/temp"; echo recovered > "$at/mark"
umount "$at"; rmdir "$at"
`,
			} {
				if err := os.WriteFile(filepath.Join(hook, name), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			w.volume("a", map[string]string{"ext4": "64M", "xfs": "320M"}[fs], fs, "gpt")
			w.write(filepath.Join(point, "temp"), "not for the copy")
			w.write(filepath.Join(point, "kept"), "for the copy")
			look := func(recovers bool, args ...string) {
				t.Helper()
				s := w.create(append(args, "--writer-include", "Recovering", point)...)
				if s.Consistency != "application" {
					t.Errorf("%v: %s consistent: %s; %+v", args, s.Consistency, s.ConsistencyReason, s.Writers)
				}
				if got := slices.Contains(s.ShadowCopies[0].Attributes, "auto-recovered"); got != recovers {
					t.Errorf("%v: attributes %v", args, s.ShadowCopies[0].Attributes)
				}
				at := filepath.Join(w.run, "exposed", "x")
				w.vss(nil, "expose", s.ShadowCopies[0].ID, at)
				_, temp := os.Stat(filepath.Join(at, "temp"))
				_, mark := os.Stat(filepath.Join(at, "mark"))
				if _, err := os.Stat(filepath.Join(at, "kept")); err != nil ||
					errors.Is(temp, os.ErrNotExist) != recovers || (mark == nil) != recovers {
					t.Errorf("%v: in the copy temp: %v, mark: %v, kept: %v", args, temp, mark, err)
				}
				if err := os.WriteFile(filepath.Join(at, "new"), nil, 0o644); err == nil {
					t.Errorf("%v: the copy can be written", args)
				}
				if l := w.lun(s.ShadowCopies[0].LUNs[0]); !l.ReadOnly {
					t.Errorf("%v: its LUN can be written", args)
				}
				w.vss(nil, "delete", s.SetID)
			}
			look(true)
			look(false, "--no-autorecovery")
			for file, want := range map[string]bool{"temp": true, "kept": true, "mark": false} {
				if _, err := os.Stat(filepath.Join(point, file)); (err == nil) != want {
					t.Errorf("%s on the original: %v", file, err)
				}
			}
			w.clean()
		})
	}
}
