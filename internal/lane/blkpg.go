package lane

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const blkpgDelPartition = 2

// deletePartitions removes partitions of a loop device by BLKPG. LOOP_CLR_FD wouldn't remove those that were added
// manually.
func deletePartitions(f *os.File, loop string) {
	parts, _ := filepath.Glob(filepath.Join("/sys/block", loop, loop+"p*"))
	for _, p := range parts {
		n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(p), loop+"p"))
		if err != nil {
			continue
		}
		part := unix.BlkpgPartition{Pno: int32(n)}
		arg := unix.BlkpgIoctlArg{
			Op:      blkpgDelPartition,
			Datalen: int32(unsafe.Sizeof(part)),
			Data:    (*byte)(unsafe.Pointer(&part)),
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	}
}
