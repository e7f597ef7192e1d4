package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockOwner returns the process that holds the lock of a file, 0 where that cannot
// be told: the system is not Linux, or the process is on another machine or in
// another container. It is the process that took the lock or, when that has ended,
// one that has inherited the open file, as a child that was forked by other means
// than those of the C library.
func lockOwner(file fileID) int {
	self := os.Getpid() // which has opened the file to look at it
	if pid := lockTaker(file); pid > 0 && pid != self {
		if has, err := hasOpen(pid, file); has || errors.Is(err, fs.ErrPermission) {
			return pid
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*") // the pattern is a sound one
	for _, path := range processes {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil || pid == self {
			continue
		}
		if has, err := hasOpen(pid, file); err == nil && has {
			return pid
		}
	}
	return 0
}

// lockTaker returns the process that took the lock.
func lockTaker(file fileID) int {
	text, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	// 1: FLOCK  ADVISORY  WRITE 2193 fe:00:10035207 0 EOF
	// By device and inode, as the kernel lists no paths. A line of a lock that somebody waits for
	// has one field more, and so another place.
	place := fmt.Sprintf("%02x:%02x:%d", unix.Major(file.device), unix.Minor(file.device), file.inode)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" || fields[5] != place {
			continue
		}
		if pid, err := strconv.Atoi(fields[4]); err == nil {
			return pid
		}
	}
	return 0
}

// hasOpen says whether a process has a file open.
func hasOpen(pid int, file fileID) (bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		var info unix.Stat_t
		if unix.Stat(filepath.Join(dir, e.Name()), &info) == nil && idOf(&info) == file {
			return true, nil
		}
	}
	return false, nil
}

// fileID tells files apart. As long as a file is open, no other gets its number.
type fileID struct{ device, inode uint64 }

func idOf(s *unix.Stat_t) fileID { return fileID{uint64(s.Dev), s.Ino} }
