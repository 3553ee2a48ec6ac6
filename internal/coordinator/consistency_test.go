package coordinator

import (
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// TestSpoils: for which components a writer vouches that failed as a whole, in part, or not at all.
func TestSpoils(t *testing.T) {
	partial := writer.Failure{Code: vss.ErrWriterErrorPartialFailure}
	whole := writer.Failure{Code: vss.ErrWriterErrorRetryable}
	bad := &document.ComponentFailure{Code: vss.ErrWriterErrorNonRetryable}
	for _, c := range []struct {
		name     string
		failure  writer.Failure
		thawed   bool
		mode     bool // component mode
		data     *document.ComponentFailure
		other    *document.ComponentFailure
		vouches  string // the components that the copy is good for
		withText string
	}{
		{"well", writer.Failure{}, true, true, nil, nil, "data part other", ""},
		{"well, without components", writer.Failure{}, true, false, nil, nil, "data part other", ""},
		{"failed", whole, true, true, nil, nil, "", "VSS_E_WRITERERROR_RETRYABLE"},
		{"failed for one", partial, true, true, nil, bad, "data part", "failed for other: VSS_E_WRITERERROR_NONRETRYABLE"},
		{"failed for one with a member", partial, true, true, bad, nil, "other", "failed for data: VSS_E_WRITERERROR_NONRETRYABLE"},
		{"failed in part, but doesn't say for what", partial, true, true, nil, nil, "", "VSS_E_WRITERERROR_PARTIAL_FAILURE"},
		{"failed in part, without components", partial, true, false, nil, bad, "", "VSS_E_WRITERERROR_PARTIAL_FAILURE"},
		{"failed in part before Thaw", partial, false, true, nil, bad, "", "VSS_E_WRITERERROR_PARTIAL_FAILURE"},
		{"failed as a whole, and for one", whole, true, true, nil, bad, "", "VSS_E_WRITERERROR_RETRYABLE"},
		{"failed for one, and doesn't say so itself", writer.Failure{}, true, true, nil, bad, "data part", "failed for other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, i := recorder("db")
			p := &participant{Instance: i, meta: &r.Metadata, state: vss.WriterWaitingForBackupComplete, failure: c.failure, thawed: c.thawed}
			if c.failure.Code.Failed() {
				p.state = vss.WriterFailedAtPostSnapshot
			}
			s := openOnly(t, i)
			must(t, s.InitializeForBackup(nil), s.SetBackupState(c.mode, false, vss.BackupFull, false))
			if c.mode {
				s.backup.Writers = []*document.WriterComponents{{WriterID: i.Info.ID, InstanceID: i.ID, Components: []*document.Component{
					{Type: vss.ComponentDatabase, Name: "data", Failure: c.data}, {Type: vss.ComponentDatabase, Name: "other", Failure: c.other},
				}}}
			}
			var vouches, why []string
			for _, m := range s.included(p) {
				if text := s.spoils(p, m); text == "" {
					vouches = append(vouches, m.Name)
				} else {
					why = append(why, text)
				}
			}
			if got := strings.Join(vouches, " "); got != c.vouches || len(why) > 0 && !strings.Contains(strings.Join(why, "; "), c.withText) {
				t.Errorf("vouches for %q (%q), want %q with %q", got, why, c.vouches, c.withText)
			}
		})
	}
}
