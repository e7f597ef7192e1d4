package params

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/persisting/persisting/engine/statefile"
	"golang.org/x/sys/unix"
)

const (
	gateName = "LOCK"
	leases   = "leases"
)

// locker keeps processes apart, and knows what living ones are doing.
type locker interface {
	// pass waits at the gate; what it returns leaves it.
	pass(alone bool) (leave func() error, err error)
	// lease says that somebody is at work, behind the gate; what it returns ends that.
	lease(name string) (end func() error, err error)
	// leased says whether whoever leased a name is alive. The caller is alone behind the gate.
	leased(name string) (bool, error)
}

// fileLocks are files that the kernel locks.
type fileLocks struct{ dir string }

func (l fileLocks) pass(alone bool) (func() error, error) {
	gate, err := statefile.Pass(filepath.Join(l.dir, gateName), alone)
	if err != nil {
		return nil, err
	}
	return gate.Leave, nil
}

// lease makes no file in a store that the process may not write to, as on a disk that is mounted for reading: there, what is
// open can be removed by those who may, which fails reads with an error that says so.
func (l fileLocks) lease(name string) (func() error, error) {
	token, err := statefile.NewToken(filepath.Join(l.dir, leases, name))
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	return token.Remove, nil
}

func (l fileLocks) leased(name string) (bool, error) {
	return statefile.TokenLives(filepath.Join(l.dir, leases, name))
}

const saveLease = "save-"

func leaseOfSave(id ident) string { return saveLease + id.String() }

func leaseOfManifest(id ident) string { return id.String() + "-" + newIdent().String() }

// leasedManifest is the manifest that a lease keeps.
func leasedManifest(name string) (ident, bool) {
	first, _, _ := strings.Cut(name, "-")
	return parseIdent(first, "")
}
