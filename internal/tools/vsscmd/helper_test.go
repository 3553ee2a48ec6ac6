package vsscmd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

func TestPlan(t *testing.T) {
	m := func(id uint64, at, root, device string) mount.Info {
		return mount.Info{ID: id, Point: at, Root: root, Device: device}
	}
	mounts := []mount.Info{
		m(1, "/", "/", "7:1"), m(2, "/proc", "/", "0:2"), m(3, "/srv", "/", "7:3"), m(4, "/srv/sub", "/", "7:4"),
		m(5, "/srv/sub/deep", "/", "7:5"), m(6, "/mirror", "/", "7:3"), m(7, "/part", "/x", "7:3"),
		m(8, "/srvother", "/", "7:6"), m(9, "/run/mnt/a", "/", "7:9"), m(10, "/was", "/", "7:8"),
		m(11, "/was", "/", "0:3"), m(12, "/home", "/@home/u", "0:30"), m(13, "/old", "/", "7:10"),
	}
	top := func(path string) (out mount.Info, ok bool) {
		for _, m := range mounts {
			if m.Point == path {
				out, ok = m, true
			}
		}
		return out, ok
	}
	srv := overlay{Volume: "/srv", Root: "/", Devices: []string{"7:3"}, Copies: []string{"7:9", "7:10"}, Own: "7:9"}
	sub := overlay{Volume: "/srv/sub", Root: "/", Devices: []string{"7:4"}}
	for name, c := range map[string]struct {
		overlays []overlay
		want     mountPlan
		err      string
	}{
		// storage 02: a bind mount of a folder shows the copy's folder. An older copy that is exposed stays.
		"one, at all of its places": {overlays: []overlay{srv}, want: mountPlan{
			places: []place{{0, "/", "/srv"}, {0, "/x", "/part"}, {0, "/", "/mirror"}},
			hidden: []string{"/srv/sub", "/srv/sub/deep"}}},
		"one in another": {overlays: []overlay{sub, srv}, want: mountPlan{
			places: []place{{1, "/", "/srv"}, {1, "/x", "/part"}, {1, "/", "/mirror"}, {0, "/", "/srv/sub"}},
			hidden: []string{"/srv/sub/deep"}}},
		"not mounted": {overlays: []overlay{{Volume: "/dev/loop9", Root: "/"}}},
		"not mounted here": {overlays: []overlay{{Volume: "/v", Root: "/", Devices: []string{"7:77"}}}, // storage 01
			err: "/v isn't mounted in this mount namespace"},
		"covered": {overlays: []overlay{{Volume: "/was", Root: "/", Devices: []string{"7:8"}}},
			err: "/was isn't mounted in this mount namespace"},
		"covered by its copy, in exec": {
			overlays: []overlay{{Volume: "/was", Root: "/", Devices: []string{"7:8"}, Copies: []string{"0:3"}}},
			want:     mountPlan{places: []place{{0, "/", "/was"}}}},
		"subvolumes": {overlays: []overlay{{Volume: "/", Root: "/@", Devices: []string{"0:30"}},
			{Volume: "/home", Root: "/@home", Devices: []string{"0:30"}}},
			want: mountPlan{places: []place{{1, "/@home/u", "/home"}}}},
		"root": {overlays: []overlay{{Volume: "/", Root: "/", Devices: []string{"7:1"}}, srv}, want: mountPlan{
			places: []place{{0, "/", "/"}, {1, "/", "/srv"}, {1, "/x", "/part"}, {1, "/", "/mirror"}},
			hidden: []string{"/proc", "/srv/sub", "/srv/sub/deep", "/srvother", "/was", "/home", "/old"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := plan(mounts, top, c.overlays)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(mountPlan{}, place{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
