package vss

// Consistency says what a shadow copy promises of its content. It is recorded with each copy and set.
type Consistency int32

// From least to most.
const (
	ConsistencyCrash       Consistency = 0 // as after a power cut
	ConsistencyFileSystem  Consistency = 1 // the file system was held
	ConsistencyApplication Consistency = 2 // and every writer with data on the volumes vouches for it
)

var consistencyNames = [...]string{"crash", "file-system", "application"}

// String is the label as commands print it.
func (c Consistency) String() string { return name(consistencyNames[:], int(c)) }

// ConsistencyByName reads a label. Errors: E_INVALIDARG.
func ConsistencyByName(s string) (Consistency, error) {
	for i, n := range consistencyNames {
		if n == s {
			return Consistency(i), nil
		}
	}
	return 0, E("Consistency", ErrInvalidArg, nil).On(s).Advise("labels are application, file-system, crash")
}

// MaxVolumes is the most volumes a set can have. Source: AddToSnapshotSet.
const MaxVolumes = 64
