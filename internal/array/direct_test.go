package array_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const odirect = unix.O_DIRECT

// aligned is a buffer for direct I/O.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	skip := 4096 - int(uintptr(unsafe.Pointer(&b[0]))%4096)
	return b[skip : skip+n]
}
