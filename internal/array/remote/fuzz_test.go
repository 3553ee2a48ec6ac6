package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// pipe is a stream with one request, whose caller has gone.
type pipe struct {
	grpc.ServerStream
	ctx  context.Context
	body []byte
	sent []proto.Message
}

func (p *pipe) Context() context.Context { return p.ctx }
func (p *pipe) RecvMsg(m any) error      { return proto.Unmarshal(p.body, m.(proto.Message)) }
func (p *pipe) SendMsg(m any) error      { p.sent = append(p.sent, m.(proto.Message)); return nil }
func (p *pipe) SetHeader(metadata.MD) error {
	return nil
}

var errNoMessage = errors.New("no message")

// call gives a message's bytes to a method of the service, as host a. Streams are of a caller that has gone.
func call(t testing.TB, method string, body []byte) (sent []proto.Message, err error) {
	t.Helper()
	s := &server{a: strict{t}, identify: func(context.Context) (Caller, error) { return Caller{Host: "a"}, nil }}
	read := func(m any) error {
		if proto.Unmarshal(body, m.(proto.Message)) != nil {
			return errNoMessage
		}
		return nil
	}
	desc := &vssv1.Array_ServiceDesc
	for _, m := range desc.Methods {
		if m.MethodName == method {
			reply, err := m.Handler(s, t.Context(), read, nil)
			if err != nil {
				return nil, err
			}
			return []proto.Message{reply.(proto.Message)}, nil
		}
	}
	for _, m := range desc.Streams {
		if m.StreamName == method {
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			p := &pipe{ctx: gone, body: body}
			err := m.Handler(s, p)
			return p.sent, err
		}
	}
	t.Fatalf("no method %s", method)
	return nil, nil
}

func methods() []string {
	var out []string
	for _, m := range vssv1.Array_ServiceDesc.Methods {
		out = append(out, m.MethodName)
	}
	for _, m := range vssv1.Array_ServiceDesc.Streams {
		out = append(out, m.StreamName)
	}
	return out
}

// A host can send any request: the array gets no call that the host has no right to, and no unbounded one. A refusal
// has one of a few codes, and its text is short and printable.
func FuzzServer(f *testing.F) {
	all := methods()
	seed := func(method string, m proto.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(slices.Index(all, method)), b)
	}
	set := vss.NewGUID().String()
	for n := range standings + 1 {
		id := withStanding(n).String()
		for _, m := range []string{"GetLun", "DeleteLun", "RenameLun", "ExtendLun"} {
			seed(m, &vssv1.RenameArrayLunRequest{Id: id})
		}
		for _, m := range []string{"MapLun", "UnmapLun"} {
			seed(m, &vssv1.MapArrayLunRequest{Id: id, Host: "a"})
			seed(m, &vssv1.MapArrayLunRequest{Id: id, Host: "b"})
		}
		seed("SetLunFlags", &vssv1.SetArrayLunFlagsRequest{Id: id, Flags: 15})
		seed("MarkImported", &vssv1.MarkImportedRequest{Host: "a", Ids: []string{id}})
		seed("MakePlain", &vssv1.ArrayLunsRequest{Ids: []string{id, id}})
		copies := []*vssv1.ArrayCopy{{Origin: id, Method: "plex"}, {Origin: withStanding(free).String(), Name: "x"}}
		seed("CanCopy", &vssv1.CanCopyRequest{Copies: copies})
		seed("PrepareCopies", &vssv1.PrepareCopiesRequest{SetId: set, Host: "a", Copies: copies})
		seed("Resync", &vssv1.ArrayResyncRequest{Source: id, Target: withStanding(free).String()})
		seed("Resync", &vssv1.ArrayResyncRequest{Source: withStanding(free).String(), Target: id})
	}
	for _, m := range []string{"CommitCopies", "FinishCopies", "KeepCopies", "AbortCopies"} {
		seed(m, &vssv1.ArraySetRequest{SetId: set, Host: "a"})
		seed(m, &vssv1.ArraySetRequest{SetId: set, Host: "b"})
	}
	for _, m := range all {
		seed(m, &vssv1.ArrayDone{})
		f.Add(uint8(slices.Index(all, m)), []byte("\x0a\xff"))
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		method := all[int(n)%len(all)]
		_, err := call(t, method, body)
		if err == nil || errors.Is(err, errNoMessage) || errors.Is(err, proto.Error) ||
			errors.Is(err, context.Canceled) {
			return
		}
		legal := []vss.Code{
			vss.ErrInvalidArg, vss.ErrAccessDenied, vss.ErrBadState, vss.ErrObjectNotFound, vss.VDSErrObjectNotFound,
		}
		if !slices.Contains(legal, vss.CodeOf(err)) {
			t.Errorf("%s: %v", method, err)
		}
		if text := err.Error() + vss.Hint(err); len(text) > 1000 ||
			strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%s: %q", method, text)
		}
	})
}

func TestHostileRequests(t *testing.T) {
	id, many, long := withStanding(free).String(), make([]string, 1025), strings.Repeat("x", 129)
	var copies []*vssv1.ArrayCopy
	for i := range many {
		many[i] = id
		copies = append(copies, &vssv1.ArrayCopy{Origin: id})
	}
	set := vss.NewGUID().String()
	for _, c := range []struct {
		method string
		m      proto.Message
		want   vss.Code
	}{
		{"GetLun", &vssv1.ArrayLunRequest{}, vss.ErrInvalidArg},
		{"GetLun", &vssv1.ArrayLunRequest{Id: "../" + id}, vss.ErrInvalidArg},
		{"GetLun", &vssv1.ArrayLunRequest{Id: id + strings.Repeat(" ", 1<<19)}, vss.ErrInvalidArg},
		{"CreateLun", &vssv1.CreateArrayLunRequest{Name: long}, vss.ErrInvalidArg},
		{"CreateLun", &vssv1.CreateArrayLunRequest{Pool: long}, vss.ErrInvalidArg},
		{"RenameLun", &vssv1.RenameArrayLunRequest{Id: id, Name: strings.Repeat("\n", 1<<19)}, vss.ErrInvalidArg},
		{"MapLun", &vssv1.MapArrayLunRequest{Id: id, Host: long}, vss.ErrInvalidArg},
		{"MapLun", &vssv1.MapArrayLunRequest{Id: id}, vss.ErrInvalidArg},
		{"MapLun", &vssv1.MapArrayLunRequest{Id: id, Host: "A"}, vss.ErrAccessDenied},
		{"SetLunFlags", &vssv1.SetArrayLunFlagsRequest{Id: id, Flags: 256}, vss.ErrInvalidArg},
		{"MarkImported", &vssv1.MarkImportedRequest{Host: "a", Ids: many}, vss.ErrInvalidArg},
		{"MakePlain", &vssv1.ArrayLunsRequest{Ids: many}, vss.ErrInvalidArg},
		{"CanCopy", &vssv1.CanCopyRequest{Copies: copies}, vss.ErrInvalidArg},
		{"PrepareCopies", &vssv1.PrepareCopiesRequest{SetId: set, Host: "a", Copies: copies}, vss.ErrInvalidArg},
		{
			"PrepareCopies",
			&vssv1.PrepareCopiesRequest{SetId: set, Host: "a", Copies: []*vssv1.ArrayCopy{{Origin: id, Method: long}}},
			vss.ErrInvalidArg,
		},
		{
			"PrepareCopies", &vssv1.PrepareCopiesRequest{SetId: set, Host: "a", Copies: []*vssv1.ArrayCopy{nil}},
			vss.ErrInvalidArg,
		},
		{"CommitCopies", &vssv1.ArraySetRequest{SetId: "x", Host: "a"}, vss.ErrInvalidArg},
		{"AbortCopies", &vssv1.ArraySetRequest{SetId: set, Host: "b"}, vss.ErrAccessDenied},
		{"ListMappings", &vssv1.ListArrayMappingsRequest{Host: "b"}, vss.ErrAccessDenied},
		{"Resync", &vssv1.ArrayResyncRequest{Source: id}, vss.ErrInvalidArg},
	} {
		body, err := proto.Marshal(c.m)
		if err != nil {
			t.Fatal(err)
		}
		_, err = call(t, c.method, body)
		if vss.CodeOf(err) != c.want || vss.Hint(err) == "" {
			t.Errorf("%s %.100s: %v", c.method, fmt.Sprint(c.m), err)
		}
	}
}
