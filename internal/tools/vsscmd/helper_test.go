package vsscmd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
)

func TestPlan(t *testing.T) {
	m := func(at, root string, minor int) *mountinfo.Info {
		return &mountinfo.Info{Mountpoint: at, Root: root, Major: 7, Minor: minor}
	}
	mounts := []*mountinfo.Info{m("/", "/", 1), m("/proc", "/", 2), m("/srv", "/", 3), m("/srv/sub", "/", 4),
		m("/srv/sub/deep", "/", 5), m("/mirror", "/", 3), m("/part", "/x", 3), m("/srvother", "/", 6),
		m("/run/mnt/a", "/", 9)}
	for name, c := range map[string]struct {
		overlays []overlay
		want     mountPlan
	}{
		"one, at both of its places": {[]overlay{{"/srv", "/run/mnt/a"}},
			mountPlan{binds: []bind{{"/run/mnt/a", "/srv"}, {"/run/mnt/a", "/mirror"}},
				hidden: []string{"/srv/sub", "/srv/sub/deep"}}},
		"one in another": {[]overlay{{"/srv/sub", "/b"}, {"/srv", "/a"}},
			mountPlan{binds: []bind{{"/a", "/srv"}, {"/a", "/mirror"}, {"/b", "/srv/sub"}},
				hidden: []string{"/srv/sub/deep"}}},
		"not mounted": {[]overlay{{"/dev/loop9", "/a"}}, mountPlan{}},
		"root": {[]overlay{{"/", "/run/mnt/a"}, {"/srv", "/b"}},
			mountPlan{root: "/run/mnt/a", binds: []bind{{"/b", "/srv"}, {"/b", "/mirror"}},
				hidden: []string{"/proc", "/srv/sub", "/srv/sub/deep", "/part", "/srvother"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, plan(mounts, c.overlays), cmp.AllowUnexported(mountPlan{}, bind{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
