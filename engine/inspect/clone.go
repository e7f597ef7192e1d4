package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal"
)

// Cloned says what a bucket was like when it was cloned.
type Cloned struct {
	InUseBy *string `json:"in_use_by"` // who has the bucket open; nil: nobody
	// There is a log: no acknowledged row is missing, but for puts of the last 20 ms of a bucket that is open.
	Logged bool `json:"logged"`
}

// ErrOvertaken is returned when a bucket changed while it was cloned.
var ErrOvertaken = errors.New("engine: the bucket changes faster than it can be looked at")

// Clone makes, in the directory into, which must not be there, a bucket with the
// rows that the one in dir has at this moment: those of the table, whose files it
// links to, and those of the log, which it copies. It changes nothing in dir, whose
// bucket may be open elsewhere. The clone may be opened and changed like any other
// as long as the files that it links to are there, which the one who has the bucket
// open may remove with the next compaction.
func Clone(dir, into string) (Cloned, error) {
	dir, err := layout.Path(dir)
	if err != nil {
		return Cloned{}, err
	}
	if into, err = statefile.RealPath(into); err != nil {
		return Cloned{}, fmt.Errorf("engine: path of clone: %w", err)
	}
	if _, err := os.Lstat(into); !errors.Is(err, fs.ErrNotExist) {
		return Cloned{}, fmt.Errorf("engine: clone into %s: %w", into, errors.Join(fs.ErrExist, err))
	}
	for try := 1; ; try++ {
		cloned, err := clone(dir, into)
		if err == nil {
			return cloned, nil
		}
		err = errors.Join(err, os.RemoveAll(into))
		// What is written or removed at this moment looks damaged, but not for long.
		if cloned.InUseBy == nil || try == tries {
			return Cloned{}, err
		}
		time.Sleep(pause)
	}
}

func clone(dir, into string) (Cloned, error) {
	var cloned Cloned
	holder, err := statefile.HolderOf(dir)
	if err != nil {
		return cloned, err
	}
	if holder != "" {
		cloned.InUseBy = &holder
	}
	before, err := table.ReadMarker(vfs.OS, dir)
	if err != nil {
		return cloned, err
	}
	if err := os.MkdirAll(into, 0o700); err != nil {
		return cloned, fmt.Errorf("engine: clone: %w", err)
	}
	if err := copyStart(filepath.Join(dir, layout.IdentityFile), filepath.Join(into, layout.IdentityFile), 0, 0); err != nil {
		return cloned, fmt.Errorf("engine: clone: %w", err)
	}
	version, err := linkTable(filepath.Join(dir, table.Dir), filepath.Join(into, table.Dir), before.Mark())
	if err != nil {
		return cloned, err
	}
	if err := writeMark(into, version, before.Mark()); err != nil {
		return cloned, err
	}
	if holder == "" { // otherwise its puts are on their way to the log
		ring := filepath.Join(dir, layout.RingFile)
		if err := copyStart(ring, filepath.Join(into, layout.RingFile), 0, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return cloned, fmt.Errorf("engine: clone: %w", err)
		}
	}
	last, err := copyLog(filepath.Join(dir, layout.LogDir), filepath.Join(into, layout.LogDir))
	if err != nil {
		return cloned, err
	}
	_, err = os.Lstat(filepath.Join(dir, layout.LogDir))
	cloned.Logged = err == nil
	if holder != "" && (last == nil && before.Mark().Logging || last != nil && last.Sealed) {
		return cloned, ErrOvertaken // by the next segment
	}
	after, err := table.ReadMarker(vfs.OS, dir)
	if err == nil && (after.Mark().Rows != before.Mark().Rows || after.Mark().Version != before.Mark().Version || after.Mark().Logging != before.Mark().Logging) {
		err = ErrOvertaken // rows may have left the log for the table
	}
	return cloned, err
}

// writeMark makes the mark of a clone, which begins with a version of the table, from
// that of the bucket.
func writeMark(dir string, version uint64, from table.Mark) error {
	m, err := table.ReadMarker(vfs.OS, dir)
	if err != nil {
		return err
	}
	return errors.Join(m.Settle(version, from.Rows), m.Logging(from.Logging), m.Close())
}

// linkTable links to the files of the version of a table that an open would begin
// with, and returns its number; 0 is none.
func linkTable(path, into string, m table.Mark) (uint64, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || m.Unmade() {
		return 0, nil
	}
	state, err := table.Check(path, m, false)
	if err != nil {
		return 0, fmt.Errorf("engine: clone: %w", err)
	}
	head := state.Head()
	if head == nil && m.Version == 0 {
		return 0, nil
	}
	if head == nil || head.Number < m.Version {
		return 0, fmt.Errorf("%w: version %d of the table was on disk and is damaged: persisting verify says more", engine.ErrCorrupt, m.Version)
	}
	snapshot, err := lance.OpenVersion(path, head.Number)
	if err != nil {
		return 0, fmt.Errorf("engine: clone: %w", err)
	}
	defer snapshot.Release()
	files, err := lance.ChangedFiles(nil, snapshot)
	if err != nil {
		return 0, fmt.Errorf("engine: clone: %w", err)
	}
	for _, name := range files {
		file := filepath.Join(path, name)
		_, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(name) == "_transactions" {
			continue // nobody reads it
		}
		link := filepath.Join(into, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(link), 0o700)
		}
		if err == nil {
			err = os.Symlink(file, link)
		}
		if err != nil {
			return 0, fmt.Errorf("engine: clone: %w", err)
		}
	}
	return head.Number, nil
}

// copyLog copies what the segments of a log hold, and returns the last of them, nil
// when there is none.
func copyLog(log, into string) (*wal.SegmentInfo, error) {
	segments, err := wal.Inspect(vfs.OS, log)
	if err != nil || len(segments) == 0 {
		return nil, err
	}
	if err := os.MkdirAll(into, 0o700); err != nil {
		return nil, fmt.Errorf("engine: clone: %w", err)
	}
	for _, s := range segments {
		bytes := s.Bytes
		if s.Err != nil {
			bytes = s.Allocated // so that the clone has the same fault
		}
		if err := copyStart(s.Path, filepath.Join(into, filepath.Base(s.Path)), bytes, s.Allocated); err != nil {
			return nil, fmt.Errorf("engine: clone: %w", err)
		}
	}
	return &segments[len(segments)-1], nil
}

// copyStart copies the first bytes of a file into a new one of the given size; all
// of it, and its size, when that is 0.
func copyStart(from, to string, bytes, size int64) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if size == 0 {
		_, err = io.Copy(target, source)
	} else {
		_, err = io.CopyN(target, source, bytes)
		err = errors.Join(err, target.Truncate(size))
	}
	return errors.Join(err, target.Close())
}
