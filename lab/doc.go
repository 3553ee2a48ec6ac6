// Package lab runs tests in kernels of their own: user-mode Linux of Debian, a kernel that is a process. It has what
// the host's kernel may lack (device-mapper, LVM, LIO, iSCSI, partition tables, udev) and may be frozen, crash and
// lose its power.
//
// A test that runs in a guest begins with
//
//	if !lab.Enter(t, lab.Guest{Disks: []lab.Disk{{Size: 256 << 20}}, Modules: []string{"dm-mod"}}) {
//		return
//	}
//
// and continues there as root, with empty /dev/ubda, /dev/ubdb and so on. Tests of several hosts and of power failures
// run outside, boot guests, and send them commands:
//
//	a := lab.NewNet(t).Boot(lab.Guest{Name: "a", Address: "10.9.0.2/24"})
//	a.Sh("mkfs.ext4 -q /dev/ubda && mount /dev/ubda /mnt")
//	a.Cut()
//	a.Boot()
//
// The test program itself is the guest's first process and executes the commands; its TestMain must call Main first.
//
// A guest's root is the host's, read-only, below a tmpfs (with Guest.Root: a file system of its own, which can be
// frozen). It may write anywhere, but the host keeps only the disks and Machine.Dir, which the guest sees as /lab,
// until the end of the test. A guest has no network except its Net.
//
// If a kernel is killed, its guest processes continue as processes of the host. So each kernel is the first process of
// a PID namespace, which ends with it, and is killed together with the thread that started it. A shell waits for the
// end of this program, for any cause, and removes the directory.
//
// A power failure doesn't lose the contents of the disk's own cache: what a guest wrote to a disk is in the host's
// page cache and is kept. LogWrites with Log, and Flakey, simulate that loss.
package lab
