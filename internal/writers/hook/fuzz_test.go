package hook

import (
	"encoding/json"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// FuzzManifest: any writer.toml is an error or yields a writer within the rules.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		"id = \"{3d1c9c6e-7a55-4f0a-8d35-0c5c4c1d7a10}\"\nname = \"App\"\nlevel = \"back-end\"\nfreeze_limit = " +
			"\"20s\"\npaths = [\"/srv\"]",
		"id = \"3d1c9c6e-7a55-4f0a-8d35-0c5c4c1d7a10\"\nname = \"App\"\nstyle = \"fsfreeze-hook\"\nscript = " +
			"\"/etc/qemu/fsfreeze-hook\"",
		"id = 7", "[a]\n[a.b]", "name = '\x00'", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parse(text)
		if err != nil {
			return
		}
		if s.ID.IsZero() || s.Name == "" || s.limit <= 0 || s.limit.Minutes() > 1 || s.level < vss.LevelSystem ||
			s.level > vss.LevelFrontEnd {
			t.Errorf("%+v", s)
		}
	})
}

// FuzzIdentify: any output of identify is an error or can be printed and parsed again.
func FuzzIdentify(f *testing.F) {
	for _, seed := range []string{
		`{"components":[{"type":"filegroup","logical_path":"app","name":"data","selectable":true,` +
			`"files":[{"path":"/srv","filespec":"*","recursive":true}]}]}`,
		`{"usage":"user-data","source":"other","version":{"major":1,"minor":0},` +
			`"restore_method":{"method":"if-can-replace","writer_restore":"always"},"components":[]}`,
		`{"components":null} {}`, `{"components":[{"icon":"AA=="}]}`, `[]`, `{"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		m, err := parseIdentify(out)
		if err != nil {
			return
		}
		_ = m.Validate()
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseIdentify(text); err != nil {
			t.Errorf("%v: %s", err, text)
		}
	})
}

// FuzzReply: any output of an executable changes nothing or the named components, and doesn't panic.
func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"components":[{"logical_path":"a","name":"c","backup_stamp":"s"}]}`))
	f.Add([]byte(`{"components":[null,{"name":"c","partial_files":[{}]}]}`))
	f.Add([]byte("talk"))
	f.Fuzz(func(t *testing.T, out []byte) {
		to := &document.WriterComponents{Components: []*document.Component{{LogicalPath: "a", Name: "c"}}}
		_ = reply(out, to)
		if len(to.Components) != 1 || to.Components[0] == nil {
			t.Errorf("%+v", to)
		}
	})
}
