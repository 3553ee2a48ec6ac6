// Package mount mounts and unmounts file systems. It is the only caller of mount, umount, openat2 and setns, so that
// the rules which protect the mounts of others are in one place: a file system is mounted at a folder that no
// symbolic link leads to, and Unmount removes only the mount that its caller owns.
package mount
