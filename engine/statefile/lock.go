package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/atfork"
	"golang.org/x/sys/unix"
)

// lockName is the file that the holder of a directory locks.
const lockName = "LOCK"

// Lock is a directory held by this opener alone. The kernel lets go of
// the lock when the process ends, however it ends; see package atfork for what a
// forked child keeps.
type Lock struct {
	path string // of the file
	fd   int
	file fileID
	made bool // there was no such file
}

// lockTries is how often a lock may be removed while it is being taken.
const lockTries = 10

// Hold takes the lock of a directory, which must exist, and changes nothing in it but LOCK. It fails at once with an
// [*engine.LockedError] where another opener has it.
func Hold(dir string) (*Lock, error) {
	path := filepath.Join(dir, lockName)
	for range lockTries {
		l, err := openLock(path)
		if err != nil {
			return nil, fmt.Errorf("statefile: lock: %w", err)
		}
		err = l.take(dir)
		if err == nil {
			err = l.Check() // what was opened may have been removed before it was locked
		}
		if err == nil {
			holding.add(l.file)
			return l, nil
		}
		err = errors.Join(err, atfork.Close(l.fd))
		if !errors.Is(err, engine.ErrDisowned) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("statefile: lock: %s is removed again and again", path)
}

func openLock(path string) (*Lock, error) {
	l := &Lock{path: path}
	var err error
	// Twice, to know whether this call has made it: an opening that is refused takes its own file
	// away again, and never another's.
	l.fd, err = atfork.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
	if l.made = err == nil; errors.Is(err, fs.ErrExist) {
		l.fd, err = atfork.Open(path, unix.O_RDWR|unix.O_CREAT, 0o644)
	}
	if err != nil {
		return nil, err
	}
	var info unix.Stat_t
	if err := unix.Fstat(l.fd, &info); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "fstat", Path: path, Err: err}, atfork.Close(l.fd))
	}
	// A pipe or a device can be locked as well, and whoever signs it would write into that.
	if info.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(fmt.Errorf("%s is not a regular file", path), atfork.Close(l.fd))
	}
	l.file = idOf(&info)
	return l, nil
}

// take locks the file, or returns a [*LockedError].
func (l *Lock) take(dir string) error {
	err := flock(l.fd, unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) { // maybe by HolderOf, for a moment
		time.Sleep(probe)
		err = flock(l.fd, unix.LOCK_EX)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		text, pid := holder(l.fd, l.file)
		return &engine.LockedError{Path: dir, Holder: text, PID: pid, Here: holding.has(l.file)}
	}
	if err != nil {
		return fmt.Errorf("statefile: lock %s: %w", l.path, err)
	}
	return nil
}

// Check returns [engine.ErrDisowned] when the path no longer leads to the file that is
// held: the directory was removed, moved or made anew, and what is there now is
// another's.
func (l *Lock) Check() error {
	var info unix.Stat_t
	var err error
	for {
		if err = unix.Stat(l.path, &info); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %s is gone", engine.ErrDisowned, l.path)
	case err != nil: // as for a process that has given its rights away: what it does by path fails by itself
		return nil
	case idOf(&info) != l.file:
		return fmt.Errorf("%w: %s is another file", engine.ErrDisowned, l.path)
	}
	return nil
}

// Sign writes to the lock file who holds it, for systems that do not say it by
// themselves.
func (l *Lock) Sign() error {
	// Not synced: it says something of a process that lives, and is worth nothing after a power
	// failure.
	if err := unix.Ftruncate(l.fd, 0); err != nil {
		return &fs.PathError{Op: "truncate", Path: l.path, Err: err}
	}
	if _, err := unix.Pwrite(l.fd, []byte(processText(os.Getpid())), 0); err != nil {
		return &fs.PathError{Op: "write", Path: l.path, Err: err}
	}
	return nil
}

// Release lets go of the lock, for copies of the descriptor as well.
func (l *Lock) Release() error {
	// Unlocked and not closed alone: a child that was forked past atfork has the same open file,
	// and would keep the lock until it ends.
	holding.remove(l.file)
	return errors.Join(flock(l.fd, unix.LOCK_UN), atfork.Close(l.fd))
}

// Undo is Release of a lock under which nothing was changed: a file that was made
// for it goes.
func (l *Lock) Undo() error {
	var err error
	if l.made && l.Check() == nil {
		err = os.Remove(l.path)
	}
	return errors.Join(err, l.Release())
}

// holding are the locks of this process.
var holding = locks{files: map[fileID]struct{}{}}

type locks struct {
	mu    sync.Mutex
	files map[fileID]struct{}
}

func (h *locks) add(file fileID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[file] = struct{}{}
}

func (h *locks) remove(file fileID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.files, file)
}

func (h *locks) has(file fileID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, there := h.files[file]
	return there
}

// probe is more than HolderOf keeps the lock.
const probe = 10 * time.Millisecond

func flock(fd int, how int) error {
	for {
		if err := unix.Flock(fd, how|unix.LOCK_NB); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// HolderOf says who holds a directory, empty when nobody does. It changes nothing.
func HolderOf(dir string) (string, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("statefile: look at lock: %w", err)
	}
	defer f.Close()
	fd := int(f.Fd())
	// Shared, so that two who ask at the same time do not take each other for holders.
	err = flock(fd, unix.LOCK_SH)
	if errors.Is(err, unix.EWOULDBLOCK) {
		var info unix.Stat_t
		if err := unix.Fstat(fd, &info); err != nil {
			return "", fmt.Errorf("statefile: look at %s: %w", path, err)
		}
		text, _ := holder(fd, idOf(&info))
		return text, nil
	}
	if err == nil {
		err = flock(fd, unix.LOCK_UN) // a child may have been forked meanwhile
	}
	if err != nil {
		return "", fmt.Errorf("statefile: look at %s: %w", path, err)
	}
	return "", nil
}

// holder says who holds the lock of a file: what the system says, or else what the holder wrote of itself, which another
// may have written before. The number of the process is 0 where only that is known.
func holder(fd int, file fileID) (text string, pid int) {
	if holding.has(file) {
		return processText(os.Getpid()), os.Getpid()
	}
	if pid := lockOwner(file); pid > 0 {
		return processText(pid), pid
	}
	written := make([]byte, 256)
	n, err := io.ReadFull(io.NewSectionReader(descriptor(fd), 0, int64(len(written))), written)
	if n == 0 || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "an unknown process", 0
	}
	return string(written[:n]), 0
}

type descriptor int

func (d descriptor) ReadAt(b []byte, off int64) (int, error) {
	n, err := unix.Pread(int(d), b, off)
	if n <= 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

func processText(pid int) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("process %d on %s", pid, host)
}
