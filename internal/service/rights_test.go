package service

import (
	"testing"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
)

// Restores in which writers take part are root's: a member of the group could otherwise have services stopped and
// started by a document (trust 1, spec 1).
func TestRestoresAreForRoot(t *testing.T) {
	for _, method := range []string{
		vssv1.Coordinator_PreRestore_FullMethodName,
		vssv1.Coordinator_PostRestore_FullMethodName,
	} {
		if need, known := rights[method]; !known || need != rootOnly {
			t.Errorf("%s is allowed for other callers than root", method)
		}
	}
}
