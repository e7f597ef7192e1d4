package table

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/vfs"
	"golang.org/x/sync/errgroup"
)

// commit makes a new version of the table, announced before, brings it to disk
// and notes it in the mark. A failure to do so has writes refused.
func (t *Table) commit(do func() (*lance.Snapshot, error)) (*lance.Snapshot, error) {
	// Before the announcement: a change that is short of descriptors half way through has writes
	// refused.
	if err := lance.Spare(); err != nil {
		return nil, err
	}
	// Announced first: from now on a crash has every version above the mark set aside, whatever Lance has made by then.
	ticket, err := t.marker.begin()
	if err != nil {
		return nil, t.home.Refuse(err)
	}
	// Lance writes by path, and would write into a bucket that was made anew under the same name.
	// What it does in the moment after this look is above the mark there, and set aside.
	if err := t.home.Owned(); err != nil {
		t.marker.fail()
		return nil, err
	}
	after, err := t.written(do)
	if err != nil {
		t.marker.fail()
		return nil, err
	}
	// Of two changes at the same time one may bring the files of both to disk.
	// Where that fails, a second sync must not tell the other that all is well.
	t.syncing.Lock()
	defer t.syncing.Unlock()
	// Held until the end, so that no clean-up removes what the comparison of the two versions reads.
	before := t.Newest()
	if before != nil {
		defer before.Release()
	}
	var manifest FileSum
	// Looked at under the lock, as the sync of another change may have failed just now.
	err = t.home.Cause()
	if err == nil && (before == nil || after.Version() != before.Version()) {
		manifest, err = t.sync(before, after, true)
	}
	if err == nil {
		// Reads that may not wait find what was removed in memory.
		_, _, _, err = after.Place(0)
	}
	// Marked last, when all of it is on disk: what the mark names is whole, for ever.
	if err == nil {
		err = t.marker.end(ticket, after.Version(), manifest, after.NextRowID())
	}
	if err != nil { // the mark stays as it is: what is above it is void
		after.Release()
		return nil, t.home.Refuse(err)
	}
	return after, nil
}

// written calls do while the disk writes what it makes.
func (t *Table) written(do func() (*lance.Snapshot, error)) (*lance.Snapshot, error) {
	defer t.writeback()()
	return do()
}

// sync brings to disk the files of the version after that before, which
// may be nil, has not, and then the directories that name them. Sums are noted of
// those that are fresh, so that they are not those of damage; that of the manifest
// is returned.
func (t *Table) sync(before, after *lance.Snapshot, fresh bool) (manifest FileSum, err error) {
	// Only what the version before has not: that one is on the disk, as all that is published is.
	// To sync a file once more costs a call each, of which an old table has thousands.
	files, err := lance.ChangedFiles(before, after)
	if err != nil {
		return FileSum{}, fmt.Errorf("engine: list files of table: %w", err)
	}
	if !fresh {
		return FileSum{}, t.syncFiles(files, before == nil)
	}
	var lines []byte
	var unread error
	summed := make(chan struct{})
	go func() { // while the disk is busy
		defer close(summed)
		defer t.panicked(&unread)
		lines, manifest, unread = t.sums.of(files)
	}()
	err = t.syncFiles(files, before == nil)
	<-summed
	switch {
	case err != nil:
		return FileSum{}, err
	case unread != nil:
		return FileSum{}, fmt.Errorf("engine: read what was written to the table: %w", unread)
	}
	if err := t.sums.add(lines); err != nil { // nobody needs them but a verification
		t.o.Logger.Warn("checksums of files of the table were not noted", "error", err)
	}
	return manifest, nil
}

// syncsAtOnce is how many files and directories of the table are brought to disk at
// the same time: fewer than the descriptors that are spared for what has begun.
const syncsAtOnce = 7

// syncFiles brings files of the table to disk, and the directories that name them,
// that of the store as well where the table is new. They go there in any order, as
// the marker says until the end that some may be missing, and several at once, as one
// commit of the file system's journal then serves many: with one after the other, a
// put and a flush took 15 to 22 ms on a busy machine, and take 11 to 14 (of that the
// syncs 6 to 8, and 3.5 to 4.5).
func (t *Table) syncFiles(files []string, isNew bool) error {
	dirs := []string{}
	var syncs errgroup.Group
	syncs.SetLimit(syncsAtOnce)
	sync := func(what func() error) {
		syncs.Go(func() (err error) {
			defer t.panicked(&err)
			return what()
		})
	}
	for _, f := range files {
		path := filepath.Join(t.path, f)
		sync(func() error { return t.syncFile(path) })
		// All directories up to the store: a new index makes several, and a file is there after a
		// power failure only if each name on the way to it is.
		for dir := filepath.Dir(path); len(dir) > len(t.home.Path); dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	if isNew {
		dirs = append(dirs, t.home.Path)
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		sync(func() error { return t.home.FS.SyncDir(dir) })
	}
	if err := syncs.Wait(); err != nil {
		return fmt.Errorf("engine: sync table: %w", err)
	}
	return nil
}

// syncFile brings a file of the table to disk, and counts its bytes.
func (t *Table) syncFile(path string) error {
	err := vfs.SyncFile(t.home.FS, path)
	// Lance's file of a transaction that a clean-up of Lance has removed already.
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(filepath.Dir(path)) == transacts {
		return nil // nobody reads it, and Heal does not ask for it
	}
	if err != nil {
		return err
	}
	t.countFile(path)
	return nil
}

// countFile counts the bytes of a file that was written.
func (t *Table) countFile(path string) {
	if t.o.Wrote == nil {
		return
	}
	if info, err := t.home.FS.Stat(path); err == nil {
		t.o.Wrote(info.Size)
	}
}
