package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Caller is the host or administrator that a call comes from.
type Caller struct {
	Host          string // its name in masks; "" for an administrator that isn't a host
	Administrator bool   // of the array: may act for every host
}

// Identify returns the caller of a call, by its connection. An error refuses the call: E_ACCESSDENIED, unless it has
// otherwise.
type Identify func(ctx context.Context) (Caller, error)

// hostKey is the metadata by which a root process of the array's own machine names its host.
const hostKey = "vss-host-bin"

// AsHost is an option of Connect: the host that calls are made for. Without it they are the administrator's.
func AsHost(host string) grpc.DialOption { return grpc.WithPerRPCCredentials(hostName(host)) }

type hostName string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (h hostName) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{hostKey: string(h)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: on a unix socket the kernel vouches for the
// account.
func (hostName) RequireTransportSecurity() bool { return false }

// UnixCaller identifies callers on a unix socket: root, or the account that the array runs under, which could reach the
// pool's files anyway. It is the host that it names (AsHost), or the administrator if it names none.
// Errors: E_ACCESSDENIED.
func UnixCaller(ctx context.Context) (Caller, error) {
	p, ok := wire.Peer(ctx)
	if !ok || p.UID != 0 && p.UID != uint32(os.Geteuid()) {
		return Caller{}, errors.New("this socket is for root")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	switch names := md.Get(hostKey); {
	case len(names) == 0:
		return Caller{Administrator: true}, nil
	case len(names) == 1 && array.NameOK(names[0]):
		return Caller{Host: names[0]}, nil
	}
	return Caller{}, errors.New("the connection names no host")
}

// sees reports whether a LUN exists for a caller: copies of another host's unfinished set don't.
func (c Caller) sees(l *array.LUN) bool {
	return c.Administrator || l.Kind != array.KindShadowCopy || l.Final || l.Host == c.Host
}

// holder returns the host that a shadow copy belongs to.
func holder(l *array.LUN) string {
	if l.Importer != "" {
		return l.Importer
	}
	return l.Host
}

func denied(l *array.LUN, why, hint string) error {
	return vss.E("", vss.ErrAccessDenied, errors.New(why)).On(l.Name).Advise(hint)
}

// owns refuses to change a LUN that is other hosts'. Errors: E_ACCESSDENIED.
func (c Caller) owns(l *array.LUN) error {
	switch {
	case c.Administrator:
	case l.Kind == array.KindShadowCopy && holder(l) != c.Host:
		return denied(
			l,
			"it is a shadow copy of host "+holder(l),
			"work on it there, or as an administrator of the array",
		)
	case l.Kind != array.KindShadowCopy && len(l.MappedTo) > 0 && !slices.Contains(l.MappedTo, c.Host):
		return denied(
			l,
			fmt.Sprintf("it is in use by %v", l.MappedTo),
			"mask it there first, or work as an administrator of the array",
		)
	}
	return nil
}

// reads returns an error for a LUN whose content the caller may not see. A finished copy that no host has imported may
// be seen by every caller that knows its set. Errors: E_ACCESSDENIED.
func (c Caller) reads(l *array.LUN) error {
	if l.Kind == array.KindShadowCopy && l.Final && !l.Imported {
		return nil
	}
	return c.owns(l)
}

// maps refuses to unmask a LUN. Errors: E_ACCESSDENIED, VSS_E_BAD_STATE for a copy that another host has imported.
func (c Caller) maps(l *array.LUN) error {
	err := c.reads(l)
	if err != nil && l.Kind == array.KindShadowCopy && l.Imported {
		return vss.E(
			"", vss.ErrBadState, errors.New("host "+holder(l)+" has imported the copy; a set is imported once"),
		).
			On(l.Name).
			Advise("delete it where it was imported, or break it")
	}
	return err
}

// imports refuses to mark a copy that the caller can't have surfaced. Errors: E_ACCESSDENIED.
func (c Caller) imports(l *array.LUN) error {
	if c.Administrator || l.Imported ||
		slices.Contains(l.MappedTo, c.Host) { // a second import is the array's to refuse
		return nil
	}
	return denied(l, "it is not mapped to "+c.Host, "map it first")
}

// acts refuses to act for another host. Errors: E_ACCESSDENIED, E_INVALIDARG.
func (c Caller) acts(host string) error {
	switch {
	case !array.NameOK(host):
		return vss.E("", vss.ErrInvalidArg, errors.New("no host name")).
			On(strconv.QuoteToASCII(clip(host))).
			Advise("a host's name has 1 to 128 printable characters, no slash, and is not an id")
	case !c.Administrator && host != c.Host:
		return vss.E("", vss.ErrAccessDenied, fmt.Errorf("host %s may not act for host %s", c.Host, host)).
			Advise("do it on that host, or as an administrator of the array")
	}
	return nil
}
