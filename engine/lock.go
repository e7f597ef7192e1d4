package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dirLock is a bucket directory held by this opener alone. The kernel lets go
// of the lock when the process ends, however it ends.
type dirLock struct{ file *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("engine: lock bucket: %w", err)
	}
	err = flock(f, unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) { // maybe by holderOf, for a moment
		time.Sleep(probe)
		err = flock(f, unix.LOCK_EX)
	}
	if err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("engine: lock %s: %w", path, err)
		}
		return nil, &LockedError{Path: dir, Holder: signature(f)}
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("engine: write %s: %w", path, err)
	}
	return &dirLock{file: f}, nil
}

// probe is more than holderOf keeps the lock.
const probe = 10 * time.Millisecond

func flock(f *os.File, how int) error { return unix.Flock(int(f.Fd()), how|unix.LOCK_NB) }

// holderOf returns what the opener of a bucket wrote of itself, empty when nobody
// has the bucket open.
func holderOf(dir string) (string, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("engine: look at lock: %w", err)
	}
	defer f.Close()
	err = flock(f, unix.LOCK_SH)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return signature(f), nil
	}
	if err != nil {
		return "", fmt.Errorf("engine: look at %s: %w", path, err)
	}
	return "", nil
}

// signature is what the holder of a lock wrote of itself.
func signature(f *os.File) string {
	holder, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil || len(holder) == 0 {
		return "an unknown process"
	}
	return string(holder)
}

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

func (l *dirLock) unlock() error { return l.file.Close() }
