package statefile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the file that the holder of a directory locks.
const lockName = "LOCK"

// Held is a directory that this opener alone holds.
type Held struct{ file *os.File }

// LockedError is returned when another opener holds a directory.
type LockedError struct {
	Path   string // the directory
	Holder string // what the holder wrote of itself, such as "process 17 on host a"
	PID    int    // its process id; 0 where it is not known
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("statefile: %s is open elsewhere, by %s: close it there, or end that process", e.Path, e.Holder)
}

// Detail returns PID.
func (e *LockedError) Detail() int64 { return int64(e.PID) }

// Lock holds a directory, which must exist, until Release. It fails with a [LockedError] at once where somebody else does.
func Lock(dir string) (*Held, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, fmt.Errorf("statefile: lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, held(dir, f)
		}
		return nil, fmt.Errorf("statefile: lock %s: %w", path, err)
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("statefile: write %s: %w", path, err)
	}
	return &Held{file: f}, nil
}

// Release lets the directory go.
func (h *Held) Release() error { return h.file.Close() }

// sign writes to the lock file who holds it.
func sign(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "process %d on %s", os.Getpid(), host)
	return err
}

// held reads what the holder wrote.
func held(dir string, f *os.File) *LockedError {
	e := &LockedError{Path: dir, Holder: "an unknown process"}
	if text, err := io.ReadAll(io.LimitReader(f, 256)); err == nil && len(text) > 0 {
		e.Holder = string(text)
		if n, err := fmt.Sscanf(e.Holder, "process %d on", &e.PID); n != 1 || err != nil {
			e.PID = 0
		}
	}
	return e
}
