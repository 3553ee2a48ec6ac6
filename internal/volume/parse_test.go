package volume

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	mounts "github.com/stillpoint-vss/stillpoint/internal/mount"
)

func TestParseMounts(t *testing.T) {
	table := strings.Join([]string{
		`27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard`,
		`not a line`,
		`30 27 254:0 /a\040folder /mnt/x\134y ro shared:1 - ext4 /dev/vda ro`,
		`31 27 0:44 /one/in /mnt/b rw - btrfs /dev/loop1 rw,space_cache=v2,subvolid=256,subvol=/o\040n,e\012`,
		`32 27 0:45 / /o rw - overlay none rw,lowerdir=/l,upperdir=/u\040p,workdir=/w`,
		`33 27 0:46 / /` + strings.Repeat("x", 70000) + ` rw - tmpfs none rw`,
		``, `-1 1 1:1 / / rw - ext4 x rw`,
	}, "\n")
	want := []*mount{
		{id: 27, dev: "254:0", root: "/", point: "/", kind: "ext4", source: "/dev/vda", prefix: "/proc/7/root"},
		{
			id:       30,
			dev:      "254:0",
			root:     "/a folder",
			point:    `/mnt/x\y`,
			kind:     "ext4",
			source:   "/dev/vda",
			readOnly: true,
			prefix:   "/proc/7/root",
		},
		{
			id:          31,
			dev:         "0:44",
			root:        "/one/in",
			point:       "/mnt/b",
			kind:        "btrfs",
			source:      "/dev/loop1",
			subvolume:   "/o n,e\n",
			subvolumeID: "256",
			prefix:      "/proc/7/root",
		},
		{
			id:     32,
			dev:    "0:45",
			root:   "/",
			point:  "/o",
			kind:   "overlay",
			source: "none",
			upper:  "/u p",
			prefix: "/proc/7/root",
		},
	}
	if diff := cmp.Diff(want, describe(mounts.Parse(table, "/proc/7/root")), cmp.AllowUnexported(mount{})); diff != "" {
		t.Errorf("describe (-want +got):\n%s", diff)
	}
}

func TestParseTag(t *testing.T) {
	for _, c := range []struct {
		in, tag, value string
		ok             bool
	}{
		{"UUID=x", "UUID", "x", true}, {"uuid='x'", "UUID", "x", true}, {`LABEL="a b"`, "LABEL", "a b", true},
		{`LABEL="a`, "LABEL", `"a`, true}, {`LABEL='a"`, "LABEL", `'a"`, true}, {`LABEL=""a""`, "LABEL", `"a"`, true},
		{`LABEL="`, "LABEL", `"`, true},
		{"LABEL=a=b", "LABEL", "a=b", true}, {"LABEL=", "LABEL", "", true},
		{"PARTUUID=x", "", "", false}, {"UUID", "", "", false}, {"/UUID=x", "", "", false}, {"", "", "", false},
	} {
		if tag, value, ok := parseTag(c.in); tag != c.tag || value != c.value || ok != c.ok {
			t.Errorf("parseTag(%q) = %q, %q, %v; want %q, %q, %v", c.in, tag, value, ok, c.tag, c.value, c.ok)
		}
	}
}

// escape is what the kernel does to a path in a mount table.
func escape(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(s)
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"", `a\040b`, `\`, `\04`, `\400`, `\+40`, "\\134040", "x\n y\t\\z\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := unescape(escape(s)); got != s {
			t.Errorf("unescape(escape(%q)) = %q", s, got)
		}
		if got := unescape(s); len(got) > len(s) || !strings.Contains(s, `\`) && got != s {
			t.Errorf("unescape(%q) = %q", s, got)
		}
	})
}

func FuzzParseMounts(f *testing.F) {
	f.Add(`31 27 0:44 /one/in /mnt/b rw - btrfs /dev/loop1 rw,subvolid=256,subvol=/one`)
	f.Add(`1 1 1:1 / / rw - ext4 x rw` + "\n\n" + `- - - - - - - - - -`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range describe(mounts.Parse(s, "")) {
			if m == nil || !m.here {
				t.Fatalf("describe(%q) gave %+v", s, m)
			}
			m.whole()
			m.key()
		}
	})
}

func FuzzParseTag(f *testing.F) {
	for _, s := range []string{"UUID=x", `LABEL="a b"`, `LABEL="`, "=", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tag, value, ok := parseTag(s)
		if ok != (tag != "") || !ok && value != "" || !strings.Contains(s, value) {
			t.Errorf("parseTag(%q) = %q, %q, %v", s, tag, value, ok)
		}
	})
}

// TestOptionsOfMounts: places outside of a volume (storage 07), and a log that was not replayed (storage 19).
func TestOptionsOfMounts(t *testing.T) {
	for _, c := range []struct {
		options, outside string
		noLog            bool
	}{
		{"rw,relatime,stripe=8", "", false},
		{"rw,attr2,logdev=/dev/sd\\040b,rtdev=/dev/sdc,noquota", "/dev/sd b /dev/sdc", false},
		{"ro,norecovery", "", true}, {"ro,noload", "", true}, {"ro,nologreplay", "", true},
		{"ro,rescue=usebackuproot:nologreplay", "", true}, {"ro,rescue=all", "", true},
		{"ro,rescue=usebackuproot", "", false},
	} {
		if got := strings.Join(outside(c.options), " "); got != c.outside || noLog(c.options) != c.noLog {
			t.Errorf("%s: outside %q, without log %v", c.options, got, noLog(c.options))
		}
	}
}

// TestPrintable: bytes that aren't UTF-8 are escaped (storage 13, trust 19).
func TestPrintable(t *testing.T) {
	if got := Printable("/caf\xe9/é\\"); got != `/caf\xe9/é\` {
		t.Error(got)
	}
}
