package mount

// FIFREEZE and FITHAW are the ioctls that freeze and thaw a mounted file system: _IOWR('X', 119, int) and _IOWR('X',
// 120, int) as amd64 and arm64 encode them, which x/sys doesn't name. Package hold issues them, and tests do.
const (
	FIFREEZE = 0xC0045877
	FITHAW   = 0xC0045878
)
