package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func (osFS) watch(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	// Without O_NONBLOCK a close would not end a read that waits.
	events := os.NewFile(uintptr(fd), "changes of "+dir)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_DELETE); err != nil {
		return nil, errors.Join(&os.PathError{Op: "inotify_add_watch", Path: dir, Err: err}, events.Close())
	}
	return events, nil
}
