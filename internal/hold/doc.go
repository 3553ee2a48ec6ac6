// Package hold flushes file systems, then holds all writes to them together for a short time, and ensures that none
// stays frozen if processes die.
//
// FIFREEZE has no time limit, isn't bound to a descriptor or a process, and completes even if its caller is killed
// during the call. A hold is therefore kept by three processes, each with its own descriptors of every file system,
// opened before:
//
//	coordinator   the process that called Start
//	freezer       issues FIFREEZE and FITHAW, with one thread per file system and one for the deadline
//	sentinel      monitors the other two
//
// Each pair is connected by a socket that no other process has, so that end of file means that the last thread of the
// other process has completed its last ioctl. All three map one page, the board, in which the freezer records before
// and after each ioctl what it does with each file system:
//
//	idle -> freezing -> frozen -> thawing -> thawed    ours, and released by one of us
//	            |                      \--> lost      ours, but thawed by another program
//	            |--> foreign                          EBUSY: frozen by another program, never touched
//	            \--> failed                           not frozen
//
// An alarm occurs if the deadline passes, one of the other two processes dies, or the hold is given up. The freezer
// then thaws what it has frozen, and file systems that are still being flushed as soon as they are frozen. The
// coordinator and the sentinel do the same independently, so any two of the three processes may be dead or stopped.
// The first to act takes over a frozen file system with one compare-and-swap and is the only one to thaw it, so that a
// freeze by another program directly afterwards is left alone. While a file system is freezing, the others try FITHAW
// every 50 ms (during the flush it waits and then thaws; before, it returns EINVAL), and kill a freezer that is
// stopped. The file system is settled when FITHAW returns EINVAL after the freezer's end.
//
// A process that may be in FITHAW is never killed: btrfs reads its super block there, takes the interruption for
// damage and becomes read-only (seen with Linux 6.18).
//
// There is one known risk: if the freezer dies in the microseconds between EBUSY from FIFREEZE and recording foreign,
// the file system is thawed although another program froze it. A file system that stays frozen would be worse.
//
// If all three die, ThawAll finds in RUN/held/PID what they held. The file is written before the hold and removed
// after it, never during it.
package hold
