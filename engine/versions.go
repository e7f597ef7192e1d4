package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/wal"
)

// Version is a version of the table that is on disk.
type Version struct {
	Number uint64    `json:"version"`
	Time   time.Time `json:"time"`
	Rows   int64     `json:"rows"` // that are left in it
	Tags   []string  `json:"tags"`
}

// Versions lists the versions that are there, the oldest first. Compactions remove
// those that are neither tagged nor in use.
func (b *Bucket) Versions() ([]Version, error) {
	table, newest, err := b.committed()
	if err != nil || table == nil {
		return []Version{}, err
	}
	tags, err := b.tags()
	if err != nil {
		return nil, err
	}
	commits, err := table.Commits()
	if err != nil {
		return nil, fmt.Errorf("engine: list versions: %w", err)
	}
	versions := []Version{}
	for _, c := range commits {
		if c.Version > newest {
			break // not on disk yet
		}
		v := Version{Number: c.Version, Time: c.Time.UTC(), Rows: c.Rows, Tags: []string{}}
		for name, t := range tags {
			if t.Version == c.Version {
				v.Tags = append(v.Tags, name)
			}
		}
		slices.Sort(v.Tags)
		versions = append(versions, v)
	}
	return versions, nil
}

// committed returns the table, nil if there is none, and its newest version that is
// on disk.
func (b *Bucket) committed() (*lance.Table, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, 0, ErrClosed
	}
	if b.snapshot == nil {
		return nil, 0, nil
	}
	return b.table, b.snapshot.Version(), nil
}

// View is one version of a bucket's table, which stays as long as it is open. Its
// methods may be called from any goroutine, until Close.
type View struct{ snapshot *lance.Snapshot }

// At opens a version for reading, which fails with [ErrNotFound] when it is not
// there. The view outlives the bucket.
func (b *Bucket) At(version uint64) (*View, error) {
	table, newest, err := b.committed()
	if err != nil {
		return nil, err
	}
	if table == nil || version == 0 || version > newest {
		return nil, fmt.Errorf("%w: version %d, the newest is %d", ErrNotFound, version, newest)
	}
	s, err := table.Checkout(version)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: version %d was removed; a tag keeps a version", ErrNotFound, version)
	}
	if err != nil {
		return nil, fmt.Errorf("engine: open version %d: %w", version, err)
	}
	return &View{s}, nil
}

// Number returns the version's number.
func (w *View) Number() uint64 { return w.snapshot.Version() }

// Rows returns how many rows are left, and the offset after the last one.
func (w *View) Rows() (rows, end int64) { return w.snapshot.Rows(), w.snapshot.NextRowID() }

// Schema returns the columns.
func (w *View) Schema() *arrow.Schema { return w.snapshot.Schema() }

// Read is [Bucket.Read] of the version, and [Bucket.ReadRun] with run.
func (w *View) Read(offset, count int64, run bool) (*Cursor, error) {
	if offset < 0 || count < 0 {
		return nil, fmt.Errorf("%w: offset %d and count %d must not be negative", ErrNotFound, offset, count)
	}
	w.snapshot.Retain()
	v := &view{schema: w.snapshot.Schema(), snapshot: w.snapshot, visible: w.snapshot.NextRowID(), unpin: w.snapshot.Release}
	v.first = min(offset, v.visible)
	v.end = v.first + min(count, v.visible-v.first)
	v.memory = v.end
	c := &Cursor{schema: v.schema}
	var err error
	if run {
		err = v.left()
	}
	if err == nil {
		c.offsets, err = v.runs()
	}
	if err == nil {
		c.reader, err = v.snapshot.Read(v.first, v.memory-v.first, nil, streamRows)
	}
	if err != nil {
		v.unpin()
		return nil, fmt.Errorf("engine: read version %d: %w", w.Number(), err)
	}
	c.unpin = v.unpin
	return c, nil
}

// Close lets go of the version; cursors go on.
func (w *View) Close() error {
	w.snapshot.Release()
	return nil
}

// Restore gives the bucket the columns and the rows of an old version. Rows that
// came later are removed; offsets are not given again.
func (b *Bucket) Restore(version uint64) error {
	view, err := b.At(version)
	if err != nil {
		return err
	}
	defer view.snapshot.Release()
	return b.alter(
		func(*arrow.Schema) error { return nil },
		func(t *lance.Table) (*lance.Snapshot, error) { return t.Restore(version) },
	)
}

// tag is the content of a tag's file, as Lance has it.
type tag struct {
	Branch       *string           `json:"branch"`
	Version      uint64            `json:"version"`
	CreatedAt    time.Time         `json:"createdAt"`
	UpdatedAt    time.Time         `json:"updatedAt"`
	ManifestSize int64             `json:"manifestSize"`
	Metadata     map[string]string `json:"metadata"`
}

const (
	tagSuffix   = ".json"
	maxTagBytes = 1 << 20
)

// tagName matches what Lance takes as a tag.
var tagName = regexp.MustCompile(`^[A-Za-z0-9_-]([A-Za-z0-9._-]*[A-Za-z0-9_-])?$`)

func (b *Bucket) tagPath(name string) string {
	return filepath.Join(b.tablePath(), "_refs", "tags", name+tagSuffix)
}

// Tag gives a version a name, under which Lance and its clean-up know it as well.
// The tag is on disk when the call returns.
//
// The file is written here and not by Lance, which would neither sync it nor keep a
// power failure from leaving half of it.
func (b *Bucket) Tag(name string, version uint64) error {
	if !tagName.MatchString(name) || strings.HasSuffix(name, ".lock") {
		return fmt.Errorf("%w: %q: want letters, digits, '-', '_' and, inside, '.'", ErrName, name)
	}
	if err := b.writable(); err != nil {
		return err
	}
	b.compacting.Lock() // no clean-up comes between
	defer b.compacting.Unlock()
	view, err := b.At(version)
	if err != nil {
		return err
	}
	defer view.snapshot.Release()
	tags, err := b.tags()
	if err != nil {
		return err
	}
	t, taken := tags[name]
	switch {
	case taken && t.Version == version:
		return nil
	case taken:
		return fmt.Errorf("%w: %q is version %d; untag it first", ErrName, name, t.Version)
	}
	size, err := b.manifestSize(version)
	if err != nil {
		return fmt.Errorf("engine: tag: %w", err)
	}
	now := time.Now().UTC()
	text, err := json.Marshal(tag{Version: version, CreatedAt: now, UpdatedAt: now, ManifestSize: size, Metadata: map[string]string{}})
	if err != nil {
		return fmt.Errorf("engine: tag: %w", err)
	}
	path := b.tagPath(name)
	if err := b.opts.FS.MkdirAll(filepath.Dir(path)); err != nil {
		return fmt.Errorf("engine: tag: %w", err)
	}
	// Lance takes every file in the directory of a tag for one.
	if err := createFileVia(b.opts.FS, filepath.Join(b.dir, "tag.tmp"), path, text); err != nil {
		return fmt.Errorf("engine: tag: %w", err)
	}
	return nil
}

// Untag takes a tag away, on disk when the call returns. The version goes with the
// next compaction.
func (b *Bucket) Untag(name string) error {
	if err := b.writable(); err != nil {
		return err
	}
	b.compacting.Lock()
	defer b.compacting.Unlock()
	tags, err := b.tags()
	if err != nil {
		return err
	}
	if _, there := tags[name]; !there {
		return fmt.Errorf("%w: tag %q", ErrNotFound, name)
	}
	path := b.tagPath(name)
	if err := b.opts.FS.Remove(path); err != nil {
		return fmt.Errorf("engine: untag: %w", err)
	}
	if err := b.opts.FS.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("engine: untag: %w", err)
	}
	return nil
}

// tags reads all tags.
func (b *Bucket) tags() (map[string]tag, error) {
	files, err := b.opts.FS.ReadDir(filepath.Dir(b.tagPath("")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("engine: read tags: %w", err)
	}
	tags := make(map[string]tag, len(files))
	for _, file := range files {
		name, ok := strings.CutSuffix(file, tagSuffix)
		if !ok {
			continue
		}
		text, err := readSmall(b.opts.FS, b.tagPath(name), maxTagBytes)
		if err != nil {
			return nil, fmt.Errorf("engine: read tag %q: %w", name, err)
		}
		var t tag
		err = json.Unmarshal(text, &t)
		if err == nil && t.Version == 0 {
			err = errors.New("it names no version")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: tag %q: %w", ErrCorrupt, name, err)
		}
		tags[name] = t
	}
	return tags, nil
}

// checkRefs refuses files among tags and branches that Lance, which reads each as a
// whole, could not read in little memory.
func (b *Bucket) checkRefs() error {
	for _, kind := range []string{"tags", "branches"} {
		dir := filepath.Join(b.tablePath(), "_refs", kind)
		files, err := wal.OS.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("engine: read %s: %w", kind, err)
		}
		for _, file := range files {
			if _, err := readSmall(wal.OS, filepath.Join(dir, file), maxTagBytes); err != nil {
				return fmt.Errorf("engine: read %s: %w", kind, err)
			}
		}
	}
	return nil
}

// manifestSize is the size of the manifest of a version.
func (b *Bucket) manifestSize(version uint64) (int64, error) {
	info, err := b.opts.FS.Stat(lance.ManifestPath(b.tablePath(), version))
	return info.Size, err
}
