// Package lab runs tests in kernels of their own: Debian's user-mode-linux, a kernel that is a process. It has what this
// kernel may lack (device-mapper, LVM, LIO, iSCSI, partition tables, udev) and may be frozen, crashed and cut off its power.
//
// A test that is to run in a guest starts with
//
//	if !lab.Enter(t, lab.Guest{Disks: []lab.Disk{{Size: 256 << 20}}, Modules: []string{"dm-mod"}}) {
//		return
//	}
//
// and goes on in there as root, with empty /dev/ubda, /dev/ubdb and so on. Tests of several hosts and of power cuts run
// outside, Boot guests, and give them commands:
//
//	a := lab.NewNet(t).Boot(lab.Guest{Name: "a", Address: "10.9.0.2/24"})
//	a.Sh("mkfs.ext4 -q /dev/ubda && mount /dev/ubda /mnt")
//	a.Cut()
//	a.Boot()
//
// The test program itself is the guest's first process and answers the commands; its TestMain calls Main first of all.
//
// A guest's root is the host's, read-only, with a tmpfs over all of it (Guest.Root: a file system of its own, that can be
// frozen): it may write anywhere, and the host keeps nothing but Machine.Dir, which the guest has as /lab, and the disks.
// Machine.Dir is also the one thing that the host keeps until the end of the test. A guest reaches no network but its Net's.
//
// A kernel that is killed lets its guest processes run on as processes of the host. So each is the first process of a PID
// namespace, which ends with it, and is itself killed with the thread that started it. A shell waits for our death, whatever
// its cause, and removes the directory.
//
// Not simulated by a power cut: what the disk's own cache loses. What a guest wrote to a disk is in the host's page cache
// and stays. For that there are LogWrites with Log, and Flakey.
package lab
