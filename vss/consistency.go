package vss

// Consistency is the consistency of a shadow copy's content. It is recorded with each copy and set.
type Consistency int32

// In increasing order.
const (
	ConsistencyCrash       Consistency = 0 // as after a power failure
	ConsistencyFileSystem  Consistency = 1 // the file system was held
	ConsistencyApplication Consistency = 2 // and all writers with data on the volumes succeeded
)

var consistencyNames = [...]string{"crash", "file-system", "application"}

// String returns the label as printed by commands.
func (c Consistency) String() string { return name(consistencyNames[:], int(c)) }

// ConsistencyByName returns the consistency with a label. Errors: E_INVALIDARG.
func ConsistencyByName(s string) (Consistency, error) {
	for i, n := range consistencyNames {
		if n == s {
			return Consistency(i), nil
		}
	}
	return 0, E("Consistency", ErrInvalidArg, nil).On(s).Advise("use application, file-system or crash")
}

// MaxVolumes is the maximum number of volumes in a set. Source: AddToSnapshotSet.
const MaxVolumes = 64
