package requester_test

import (
	"context"
	"net"
	"path"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	lunID    = "{33333333-0000-4000-8000-000000000001}"
	originID = "{33333333-0000-4000-8000-000000000002}"
)

// server answers every method of the disk manager with reply and keeps the last request and its method.
type server struct {
	reply  proto.Message
	method string
	got    proto.Message
}

func connect(t *testing.T, s *server) *requester.Disks {
	t.Helper()
	g := grpc.NewServer(grpc.UnaryInterceptor(
		func(_ context.Context, q any, i *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			s.method, s.got = path.Base(i.FullMethod), q.(proto.Message)
			return s.reply, nil
		}))
	vssv1.RegisterDisksServer(g, vssv1.UnimplementedDisksServer{})
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	c := requester.NewClient(conn)
	t.Cleanup(func() { _ = c.Close() })
	return c.Disks()
}

func lunOnWire() *vssv1.Lun {
	return &vssv1.Lun{
		Id: lunID, Name: "data", Array: "local", Pool: "main", Size: 2 << 30, Serial: "S1", Vpd83: "naa.6",
		Kind: "shadow-copy", Origin: originID, Method: "plex", CompletePercent: 12.5, MappedTo: []string{"db1"},
		Device: "/dev/loop3", ReadOnly: true,
		Disk: &vssv1.LunDisk{
			Style: "gpt", Id: "disk", Flags: uint32(vss.FlagHidden),
			Partitions: []*vssv1.LunPartition{{
				Number: 1, Id: "part", Device: "/dev/loop3p1", Start: 1 << 20, Size: 1 << 30, FileSystem: "xfs",
				Uuid: "u", Flags: uint32(vss.FlagReadOnly),
			}},
		},
	}
}

func lunHere(t *testing.T) requester.LUN {
	t.Helper()
	id, e1 := vss.ParseGUID(lunID)
	origin, e2 := vss.ParseGUID(originID)
	if e1 != nil || e2 != nil {
		t.Fatal(e1, e2)
	}
	return requester.LUN{
		ID: vss.LUNID{GUID: id}, Name: "data", Array: "local", Pool: "main", Size: 2 << 30, Serial: "S1",
		VPD83: "naa.6", Kind: "shadow-copy", Origin: vss.LUNID{GUID: origin}, Method: "plex", CompletePercent: 12.5,
		MappedTo: []string{"db1"}, Device: "/dev/loop3", ReadOnly: true,
		Disk: &requester.Disk{Style: "gpt", ID: "disk", Flags: vss.FlagHidden, Partitions: []requester.Partition{{
			Number: 1, ID: "part", Device: "/dev/loop3p1", Start: 1 << 20, Size: 1 << 30, FileSystem: "xfs", UUID: "u",
			Flags: vss.FlagReadOnly,
		}}},
	}
}

// TestDisks checks what each method asks the service, and that a LUN loses nothing on its way.
func TestDisks(t *testing.T) {
	for _, c := range []struct {
		method string
		call   func(context.Context, *requester.Disks) (requester.LUN, error)
		want   proto.Message
	}{
		{"ShowLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.ShowLUN(ctx, "data")
		}, &vssv1.LunRequest{Lun: "data"}},
		{"CreateLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.CreateLUN(ctx, requester.NewLUN{Name: "n", Size: 1, Array: "a", Pool: "p", Masked: true})
		}, &vssv1.CreateLunRequest{Name: "n", Size: 1, Array: "a", Pool: "p", Masked: true}},
		{"FormatLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.FormatLUN(ctx, "data", requester.NewFormat{FileSystem: "xfs", Style: "mbr", Label: "l"})
		}, &vssv1.FormatLunRequest{Lun: "data", FileSystem: "xfs", Style: "mbr", Label: "l"}},
		{"MaskLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.MaskLUN(ctx, "data", "db2", true)
		}, &vssv1.MaskLunRequest{Lun: "data", Host: "db2", Force: true}},
		{"UnmaskLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.UnmaskLUN(ctx, "data", "db2")
		}, &vssv1.UnmaskLunRequest{Lun: "data", Host: "db2"}},
		{"SetLunReadOnly", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.SetLUNReadOnly(ctx, "data", true)
		}, &vssv1.SetLunReadOnlyRequest{Lun: "data", ReadOnly: true}},
		{"MountLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.MountLUN(ctx, "data", 2, "/mnt", true)
		}, &vssv1.MountLunRequest{Lun: "data", Partition: 2, Path: "/mnt", Persist: true}},
		{"UnmountLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.UnmountLUN(ctx, "data", 2)
		}, &vssv1.UnmountLunRequest{Lun: "data", Partition: 2}},
		{"ChangeLunFlags", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.ChangeLUNFlags(ctx, "data", 2, vss.FlagHidden, vss.FlagReadOnly)
		}, &vssv1.ChangeLunFlagsRequest{
			Lun: "data", Partition: 2, Set: uint32(vss.FlagHidden), Clear: uint32(vss.FlagReadOnly),
		}},
		{"RenameLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.RenameLUN(ctx, "data", "old")
		}, &vssv1.RenameLunRequest{Lun: "data", Name: "old"}},
		{"ExtendLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.ExtendLUN(ctx, "data", 4<<30)
		}, &vssv1.ExtendLunRequest{Lun: "data", Size: 4 << 30}},
		{"DeleteLun", func(ctx context.Context, d *requester.Disks) (requester.LUN, error) {
			return d.DeleteLUN(ctx, "data", true)
		}, &vssv1.DeleteLunRequest{Lun: "data", Force: true}},
	} {
		t.Run(c.method, func(t *testing.T) {
			s := &server{reply: lunOnWire()}
			got, err := c.call(t.Context(), connect(t, s))
			if err != nil || s.method != c.method {
				t.Errorf("%s: %v", s.method, err)
			}
			if d := cmp.Diff(c.want, s.got, protocmp.Transform()); d != "" {
				t.Errorf("request (-want +got):\n%s", d)
			}
			if d := cmp.Diff(lunHere(t), got); d != "" {
				t.Errorf("LUN (-want +got):\n%s", d)
			}
		})
	}
}

func TestDisksLists(t *testing.T) {
	s := &server{reply: &vssv1.LunList{Luns: []*vssv1.Lun{lunOnWire(), {Id: originID, Kind: "plain"}}}}
	d := connect(t, s)
	for method, call := range map[string]func(context.Context) ([]requester.LUN, error){
		"ListLuns": d.ListLUNs, "RescanLuns": d.RescanLUNs,
	} {
		got, err := call(t.Context())
		if err != nil || s.method != method || len(got) != 2 {
			t.Fatalf("%s: %d LUNs, %v", s.method, len(got), err)
		}
		if d := cmp.Diff(lunHere(t), got[0]); d != "" {
			t.Errorf("%s (-want +got):\n%s", method, d)
		}
		if got[1].Disk != nil || !got[1].Origin.IsZero() {
			t.Errorf("a LUN of another host: %+v", got[1])
		}
	}
	s.reply = &vssv1.LunList{Luns: []*vssv1.Lun{{Id: "no id"}}}
	if _, err := d.ListLUNs(t.Context()); vss.CodeOf(err) != vss.ErrUnexpected {
		t.Errorf("a LUN with an invalid id: %v", err)
	}
	s.reply = &vssv1.ListArraysReply{Arrays: []*vssv1.StorageArray{{
		Name: "local", Address: "a", Targets: []string{"loop"},
		Pools: []*vssv1.StoragePool{{Name: "main", Type: "reflink", Size: 10, Free: 5}},
	}}}
	arrays, err := d.ListArrays(t.Context())
	want := []requester.StorageArray{{
		Name: "local", Address: "a", Targets: []string{"loop"},
		Pools: []requester.StoragePool{{Name: "main", Type: "reflink", Size: 10, Free: 5}},
	}}
	if diff := cmp.Diff(want, arrays); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}
