package lab

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// LogWrites puts dm-log-writes over dev, in a guest with the module of that name: data written to the returned path
// goes to dev, and to the disk log together with the order of writes and flushes. The host reads the log with ReadLog
// when the device has been removed at the end of the test in the guest.
func LogWrites(t testing.TB, name, dev, log string) string {
	t.Helper()
	return dmCreate(t, name, fmt.Sprintf("0 %d log-writes %s %s", sectors(t, dev), dev, log))
}

// Mark writes a mark into the log of the device that LogWrites returned. Writes that have not been flushed appear
// after it in the log.
func Mark(t testing.TB, name, mark string) {
	t.Helper()
	dmsetup(t, "message", name, "0", "mark", mark)
}

// Flakey puts a device over dev that passes everything on until DropWrites, in a guest with the module dm-flakey.
func Flakey(t testing.TB, name, dev string) string {
	t.Helper()
	return dmCreate(t, name, fmt.Sprintf("0 %d linear %s 0", sectors(t, dev), dev))
}

// DropWrites discards all further writes to a device of Flakey without an error, like a power failure. Data that its
// file system has not written yet is lost as well.
func DropWrites(t testing.TB, name, dev string) {
	t.Helper()
	dmsetup(t, "suspend", "--nolockfs", name)
	dmsetup(t, "load", name, "--table", fmt.Sprintf("0 %d flakey %s 0 0 3600 1 drop_writes", sectors(t, dev), dev))
	dmsetup(t, "resume", name)
}

func dmCreate(t testing.TB, name, table string) string {
	t.Helper()
	dmsetup(t, "create", name, "--table", table)
	t.Cleanup(func() { dmsetup(t, "remove", "--retry", name) })
	return "/dev/mapper/" + name
}

func dmsetup(t testing.TB, args ...string) {
	t.Helper()
	if !Inside() {
		t.Fatal("device-mapper is for guests")
	}
	if out, err := exec.Command("dmsetup", args...).CombinedOutput(); err != nil {
		t.Fatalf("dmsetup %v: %v\n%s", args, err, out)
	}
}

// sectors returns the size of a block device in units of 512 bytes.
func sectors(t testing.TB, dev string) int64 {
	t.Helper()
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKGETSIZE64)
	if err != nil {
		t.Fatalf("size of %s: %v", dev, err)
	}
	return int64(n) / 512
}
