package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dirLock is a bucket directory held by this opener alone. The kernel lets go
// of the lock when the process ends, however it ends.
type dirLock struct{ file *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("engine: lock bucket: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("engine: lock %s: %w", path, err)
		}
		holder, readErr := io.ReadAll(io.LimitReader(f, 256))
		if readErr != nil || len(holder) == 0 {
			holder = []byte("an unknown process")
		}
		return nil, &LockedError{Path: dir, Holder: string(holder)}
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("engine: write %s: %w", path, err)
	}
	return &dirLock{file: f}, nil
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
