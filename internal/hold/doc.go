// Package hold flushes file systems and holds all writes to them for a moment, all at once, and makes sure that none of
// them stays held whatever dies.
//
// FIFREEZE has no limit of its own, isn't bound to a descriptor or a process, and completes even when its caller is killed
// in the middle. So a hold is kept by three processes, each with its own descriptors of every file system, open before:
//
//	coordinator   the process that called Start
//	freezer       issues FIFREEZE and FITHAW, one thread per file system, and has the deadline in another
//	sentinel      watches
//
// Each is joined to the two others by a socket that nobody else holds, so that end of file means: the last thread of that
// process is through with its last ioctl. All three map one page, the board, on which the freezer writes before and after
// each ioctl what it does with each file system:
//
//	idle -> freezing -> frozen -> thawing -> thawed    ours, and released by one of us
//	                                    \--> lost      ours, but somebody else had thawed it
//	               \--> foreign                        EBUSY: another program's freeze, never touched
//	               \--> failed                         not frozen
//
// An alarm is: the deadline is over, one of the other two died, or the hold is given up. The freezer then thaws what it has
// frozen, and what is still in its flush as soon as that is over. The coordinator and the sentinel do the same, each by
// itself, so any two of the three may be dead or stopped. Who is first takes a frozen file system over with one compare
// and swap and is the only one who thaws it: a freeze that another program makes right after is left alone. While a file
// system is "freezing" the others try FITHAW every 50 ms (issued during the flush it waits and then thaws; before that it
// is EINVAL), and end a freezer that is found stopped. It is settled when FITHAW has said EINVAL after the freezer's end.
//
// A process that may be in FITHAW is never killed here: btrfs reads its super block then, takes the interruption for a
// damaged one and goes read-only (seen with Linux 6.18).
//
// One choice is to be known: if the freezer dies in the microseconds between FIFREEZE saying EBUSY and the board saying
// foreign, then the file system is thawed although the freeze was another's. A machine that hangs is worse.
//
// If all three die, RUN/held/PID tells ThawAll what they held. It is written just before the hold and removed after it,
// never during it.
package hold
