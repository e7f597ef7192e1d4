package table

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

// Look finds what a table is opened with, or what keeps it from being opened, and changes nothing. The table that it
// returns is of no use until [Table.Recover], but for its marker and for Close; there is none with an error.
func Look(home *statefile.Dir, o Options) (*Table, error) {
	t := newTable(home, o)
	var err error
	if t.marker, err = ReadMarker(home.FS, home.Path); err != nil {
		return nil, err
	}
	t.tagged = t.marker.Tags()
	for _, look := range []func() error{t.lookAtRegister, t.lookAtVersions, t.lookAtTags} {
		if err := look(); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	return t, nil
}

// Found is what Look has found.
func (t *Table) Found() *Found { return &t.found }

// SetAside is how many versions of the table were set aside when it was opened.
func (t *Table) SetAside() int { return t.found.aside }

func (t *Table) lookAtRegister() error {
	_, err := t.tagged.All()
	if errors.Is(err, engine.ErrCorrupt) && t.o.Salvage {
		t.o.Logger.Error("a damaged file is begun anew", "error", err)
		t.found.tagsLost = true
		err = nil
	}
	return err
}

// lookAtVersions finds the newest sound version of the table. It refuses one that is
// older than the version that was on disk: what was removed or changed since is nowhere.
func (t *Table) lookAtVersions() error {
	m, f := t.marker.Mark(), &t.found
	if m.Unmade() {
		return nil
	}
	var err error
	if f.State, err = Check(t.path, m, false); err != nil {
		return fmt.Errorf("engine: look at table: %w", err)
	}
	head := f.State.Head()
	if head == nil {
		return nil // rows that are missing are found out at the end
	}
	if head.Number < m.Version {
		return fmt.Errorf("%w: version %d of the table was on disk, and %s; version %d is the newest that is sound, to which persisting repair can go back", engine.ErrCorrupt, m.Version, WrongWith(&f.State, m.Version), head.Number)
	}
	version, err := lance.OpenVersion(t.path, head.Number)
	if err != nil {
		return fmt.Errorf("engine: look at table: %w", err)
	}
	defer version.Release()
	f.Rows, f.Schema = version.NextRowID(), version.Schema()
	if rows := version.Rows(); rows > f.Rows {
		return fmt.Errorf("%w: the table has %d rows and its next row id is %d", engine.ErrCorrupt, rows, f.Rows)
	}
	if _, _, _, err := version.Place(0); err != nil {
		return fmt.Errorf("engine: look at table: %w", err)
	}
	return nil
}

// lookAtTags refuses tags whose versions are gone, or go when the table is healed.
func (t *Table) lookAtTags() error {
	if t.found.tagsLost {
		return nil // what they name is not known
	}
	noted, err := t.tagged.All()
	if err != nil {
		return err
	}
	if t.o.Salvage {
		return nil
	}
	for name, version := range noted {
		if t.found.setsAside(uint64(version)) {
			return fmt.Errorf("%w: tag %q: %s", engine.ErrCorrupt, name, WrongWith(&t.found.State, uint64(version)))
		}
	}
	stray, err := StrayTags(t.home.FS, t.path, noted)
	for _, s := range stray {
		if s.Gone {
			return fmt.Errorf("%w: %s", engine.ErrCorrupt, s)
		}
	}
	return err
}

// setsAside says whether heal takes a version away.
func (f *Found) setsAside(number uint64) bool {
	head := f.State.Head()
	for i := range f.State.Versions {
		if v := &f.State.Versions[i]; v.Number == number {
			return head == nil || number > head.Number || !v.Readable()
		}
	}
	return false
}

// Check looks at the versions of a table that an open may begin with.
func Check(table string, m Mark, layout bool) (lance.State, error) {
	o := lance.CheckOptions{Layout: layout}
	// A change was under way: whatever is above the mark may look sound and have zeros in it.
	if m.Changing {
		o.Newest = m.Version
	}
	if m.Manifest != (FileSum{}) {
		damaged, err := differs(vfs.OS, lance.ManifestPath(table, m.Version), m.Manifest)
		if err != nil {
			return lance.State{}, err
		}
		if damaged {
			o.Damaged = m.Version
		}
	}
	return lance.Check(table, o)
}

// WrongWith says what is wrong with a version.
func WrongWith(s *lance.State, number uint64) string {
	for _, v := range s.Versions {
		switch {
		case v.Number != number:
		case v.Torn != nil:
			return v.Manifest + " " + *v.Torn
		case len(v.Flaws) > 0:
			return v.Flaws[0].File + " " + v.Flaws[0].What
		}
	}
	return "its manifest is gone"
}

// Recover opens the table at the version that Look has found, with its tags.
func (t *Table) Recover() error {
	if t.found.tagsLost {
		if err := t.tagged.Forget(); err != nil {
			return err
		}
	}
	if err := t.heal(); err != nil {
		return err
	}
	if err := t.open(); err != nil {
		return err
	}
	return t.restoreTags()
}

// heal sets aside the versions of the table that are not on disk for certain,
// or not sound.
func (t *Table) heal() error {
	m := t.marker.Mark()
	if err := t.home.Owned(); err != nil {
		return err
	}
	var aside []string
	var err error
	if m.Unmade() {
		aside, err = lance.Discard(t.path)
	} else {
		aside, err = lance.Heal(t.path, &t.found.State)
	}
	if err != nil {
		return fmt.Errorf("engine: heal table: %w", err)
	}
	for _, name := range aside {
		t.o.Logger.Warn("set a file of the table aside", "file", name, "unfinished", m.Changing)
	}
	t.found.aside = len(aside)
	if m.Changing || len(aside) > 0 {
		// The mark must not be settled while they can come back.
		err = t.home.FS.SyncDir(filepath.Join(t.path, versions))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("engine: heal table: %w", err)
		}
	}
	return nil
}

func (t *Table) open() error {
	table, err := lance.Open(t.path, t.o.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return t.settle(nil)
	}
	if err != nil {
		return fmt.Errorf("engine: open table: %w", err)
	}
	t.mu.Lock()
	t.table = table
	t.mu.Unlock()
	snapshot, err := table.Snapshot()
	if err != nil {
		return fmt.Errorf("engine: open table: %w", err)
	}
	t.mu.Lock()
	t.snapshot = snapshot
	t.mu.Unlock()
	next := snapshot.NextRowID()
	if rows := snapshot.Rows(); rows > next {
		return fmt.Errorf("%w: the table has %d rows and its next row id is %d", engine.ErrCorrupt, rows, next)
	}
	// Reads the deletions of all fragments, after which no read that may not wait has to.
	if _, _, _, err := snapshot.Place(0); err != nil {
		return fmt.Errorf("engine: open table: %w", err)
	}
	// The log was read from this row on. A table that ends elsewhere by now would lose or double
	// rows.
	if next != t.found.Rows {
		return fmt.Errorf("%w: the table ends at row id %d and did at %d a moment ago", engine.ErrCorrupt, next, t.found.Rows)
	}
	return t.settle(snapshot)
}

// settle brings the mark to the version of the table that was found.
func (t *Table) settle(found *lance.Snapshot) error {
	if found == nil {
		return t.marker.Settle(0, 0)
	}
	version := found.Version()
	if version != t.marker.Mark().Version {
		// Not a version that this table has brought to disk: its files may be in the memory of the system alone, and the mark is
		// to say that they are not. No sums are noted, as nobody knows whether these bytes are those that were written.
		if _, err := t.sync(nil, found, false); err != nil {
			return err
		}
	}
	return t.marker.Settle(version, found.NextRowID())
}

// Open opens the table in a directory, or makes ready for one, after [Look] has found nothing against it.
func Open(home *statefile.Dir, o Options) (*Table, error) {
	t, err := Look(home, o)
	if err != nil {
		return nil, err
	}
	if due := t.marker.Mark().Rows; t.found.Rows < due {
		err = fmt.Errorf("%w: the rows %d to %d were in the table, and are not there", engine.ErrCorrupt, t.found.Rows, due-1)
	} else {
		err = t.Recover()
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}
