package lance

import (
	"errors"
	"fmt"
	"strings"

	"github.com/persisting/persisting/vfs"
	"golang.org/x/sys/unix"
)

// storeDescriptors is how many files a bucket has open: LOCK, a segment of the log, table.mark and table.sums.
const storeDescriptors = 4

// Advised adds to an error what to do about it where no file could be opened because
// too many are.
func Advised(err error) error {
	if err == nil || !noDescriptor(err) || strings.Contains(err.Error(), "ulimit -n") {
		return err
	}
	limit := "a number of"
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
		limit = fmt.Sprint(r.Cur)
	}
	return fmt.Errorf("%w: this process may have %s files open: raise the limit (ulimit -n), or open fewer buckets, each of which takes about %d", err, limit, storeDescriptors)
}

// noDescriptor says whether an error is that of a process that may open no more files.
func noDescriptor(err error) bool {
	if vfs.NoDescriptor(err) {
		return true
	}
	var native *Error
	if !errors.As(err, &native) {
		return false
	}
	// Lance gives the text of an error of the system and not its number.
	for _, number := range []unix.Errno{unix.EMFILE, unix.ENFILE} { // as Rust writes it
		if strings.Contains(native.Msg, fmt.Sprintf("(os error %d)", int(number))) {
			return true
		}
	}
	return false
}

// Spare returns an error while nothing may be begun that opens files.
func Spare() error {
	if err := vfs.SpareDescriptors(); err != nil {
		return Advised(fmt.Errorf("engine: nothing new is begun: %w", err))
	}
	return nil
}
