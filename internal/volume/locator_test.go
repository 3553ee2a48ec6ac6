package volume

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLocator(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self", link); err != nil {
		t.Fatal(err)
	}
	l := NewLocator([]string{"", filepath.Join(dir, "none"), file, "/proc", dir})
	for range 2 { // read, then remembered
		for path, want := range map[string]int{
			dir: 4, file: 4, dir + "//none/../file": 4, filepath.Join(dir, "none", "deeper"): 4,
			link: 3, "/proc/self/none": 3, "/sys": -1, "/sys/none": -1,
		} {
			if got := l.Find(path); got != want {
				t.Errorf("%s is on volume %d, want %d", path, got, want)
			}
		}
	}
	if got := NewLocator(nil).Find("/"); got != -1 {
		t.Errorf("/ is on volume %d of none", got)
	}
}
