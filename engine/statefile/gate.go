package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/persisting/persisting/engine/atfork"
	"golang.org/x/sys/unix"
)

// Gate is a lock file that several may pass together or one alone, in this process and in others. Unlike a [Lock] it is
// waited for, and kept for moments. The kernel opens it when its process ends, however it ends.
type Gate struct{ fd int }

// Pass waits until all who are inside may be there together with the caller, or, if it wants to be alone, until nobody is.
// Who is not alone need not be able to write to the file, which must exist then.
func Pass(path string, alone bool) (*Gate, error) {
	flags, how := unix.O_RDONLY, unix.LOCK_SH
	if alone {
		flags, how = unix.O_RDWR|unix.O_CREAT, unix.LOCK_EX
	}
	fd, err := atfork.Open(path, flags, 0o666)
	if err != nil {
		return nil, fmt.Errorf("statefile: gate: %w", err)
	}
	if err := waitFlock(fd, how); err != nil {
		return nil, errors.Join(fmt.Errorf("statefile: gate %s: %w", path, err), atfork.Close(fd))
	}
	return &Gate{fd}, nil
}

// Leave lets others in.
func (g *Gate) Leave() error {
	return errors.Join(flock(g.fd, unix.LOCK_UN), atfork.Close(g.fd))
}

func waitFlock(fd int, how int) error {
	for {
		if err := unix.Flock(fd, how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Token is a file that says, by its name, what its process is doing, for as long as that lives.
type Token struct {
	path string
	fd   int
}

// NewToken makes the file, which must not exist. Nobody may look at tokens meanwhile.
func NewToken(path string) (*Token, error) {
	fd, err := atfork.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("statefile: token: %w", err)
	}
	// Nobody has it yet, so this does not wait: the name was made by this call.
	if err := flock(fd, unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("statefile: token %s: %w", path, err), atfork.Close(fd), os.Remove(path))
	}
	return &Token{path, fd}, nil
}

// Remove ends it.
func (t *Token) Remove() error {
	return errors.Join(os.Remove(t.path), flock(t.fd, unix.LOCK_UN), atfork.Close(t.fd))
}

// TokenLives says whether somebody has the token; one that a dead process left is removed.
func TokenLives(path string) (bool, error) {
	fd, err := atfork.Open(path, unix.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("statefile: token: %w", err)
	}
	err = flock(fd, unix.LOCK_EX)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, atfork.Close(fd)
	case err != nil:
		return false, errors.Join(fmt.Errorf("statefile: token %s: %w", path, err), atfork.Close(fd))
	}
	// Under the lock, so that no other who looks at it finds it alive for a moment.
	removed := os.Remove(path)
	if errors.Is(removed, fs.ErrNotExist) { // its process has just done so
		removed = nil
	}
	return false, errors.Join(removed, flock(fd, unix.LOCK_UN), atfork.Close(fd))
}
