package wire

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ErrServiceGone is the cause of a VSS_E_UNEXPECTED where the other side of a socket isn't there, or went away in a call.
var ErrServiceGone = errors.New("the service went away")

// ToStatus makes err a gRPC status that carries all of it. Method is the name of the call, for an error that names no
// operation. Nil stays nil.
func ToStatus(method string, err error) error {
	if err == nil {
		return nil
	}
	var known *vss.Error
	if s, ok := status.FromError(err); ok && !errors.As(err, &known) {
		err = withoutDetail(method, s) // of the generated code (Unimplemented), or of a call the handler made past Dial
	}
	err = native(method, err)
	d := Detail(method, err)
	code := grpcCode(vss.MakeCode(d.GetHresult(), d.GetFacility()))
	if code == codes.Internal {
		switch {
		case errors.Is(err, context.Canceled):
			code = codes.Canceled
		case errors.Is(err, context.DeadlineExceeded):
			code = codes.DeadlineExceeded
		}
	}
	s := status.New(code, summary(err))
	if full, derr := s.WithDetails(d); derr == nil {
		s = full
	}
	return s.Err()
}

// FromStatus makes a gRPC status a *vss.Error again, and a failure of the transport one too: VSS_E_UNEXPECTED with
// ErrServiceGone, context.Canceled or context.DeadlineExceeded as its cause. Nil stays nil, and so does an error that is
// no status.
func FromStatus(method string, err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, any := range s.Details() {
		if d, ok := any.(*vssv1.ErrorDetail); ok {
			e := FromDetail(d)
			var v *vss.Error
			if errors.As(e, &v) && v.Op == "" {
				v.Op = method
			}
			return e
		}
	}
	return withoutDetail(method, s)
}

// withoutDetail reads a status that none of ours wrote.
func withoutDetail(method string, s *status.Status) error {
	text := errors.New(clean(s.Message()))
	switch s.Code() {
	case codes.Canceled:
		return vss.E(method, vss.ErrUnexpected, context.Canceled)
	case codes.DeadlineExceeded:
		return vss.E(method, vss.ErrUnexpected, context.DeadlineExceeded).Advise("the other side is slow or stuck; see its log")
	case codes.Unavailable:
		return vss.E(method, vss.ErrUnexpected, &remote{text: ErrServiceGone.Error() + ": " + text.Error(), causes: []error{ErrServiceGone}}).
			Advise("see whether it runs, and try again")
	case codes.PermissionDenied, codes.Unauthenticated:
		return vss.E(method, vss.ErrAccessDenied, text)
	case codes.Unimplemented:
		return vss.E(method, vss.ErrNotImpl, text)
	case codes.InvalidArgument:
		return vss.E(method, vss.ErrInvalidArg, text)
	case codes.NotFound:
		return vss.E(method, vss.ErrObjectNotFound, text)
	case codes.AlreadyExists:
		return vss.E(method, vss.ErrObjectAlreadyExists, text)
	case codes.FailedPrecondition:
		return vss.E(method, vss.ErrBadState, text)
	case codes.ResourceExhausted:
		return vss.E(method, vss.ErrOutOfMemory, text)
	}
	return vss.E(method, vss.ErrUnexpected, text)
}

// summary is the text for those who can't read the detail.
func summary(err error) string {
	const most = 256 // bytes; it travels in a header, beside the detail
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "..."
	}
	return clean(text)
}

// methodName is AddToSnapshotSet of /vss.v1.Coordinator/AddToSnapshotSet.
func methodName(full string) string { return full[strings.LastIndexByte(full, '/')+1:] }
