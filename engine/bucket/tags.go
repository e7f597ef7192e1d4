package bucket

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

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

func tagPath(table, name string) string {
	return filepath.Join(table, "_refs", "tags", name+tagSuffix)
}

// Tag gives a version a name, under which Lance and its clean-up know it as well.
// The tag is on disk when the call returns.
//
// The file is written here and not by Lance, which would neither sync it nor keep a
// power failure from leaving half of it. What it names is noted in tags.json before:
// the next open writes a tag anew that was lost or is damaged.
func (b *Bucket) Tag(name string, version uint64) error {
	if !tagName.MatchString(name) || strings.HasSuffix(name, ".lock") {
		return fmt.Errorf("%w: %q: want letters, digits, '-', '_' and, inside, '.'", engine.ErrName, name)
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
	tags, err := b.allTags()
	if err != nil {
		return err
	}
	t, taken := tags[name]
	switch {
	case taken && t.Version == version:
		return nil
	case taken:
		return fmt.Errorf("%w: %q is version %d; untag it first", engine.ErrName, name, t.Version)
	}
	err = b.tagged.Change(func(versions map[string]int64) {
		for name, t := range tags { // some may be from before they were noted
			versions[name] = int64(t.Version)
		}
		versions[name] = int64(version)
	})
	if err == nil {
		err = b.writeTag(name, version)
	}
	if err != nil {
		return fmt.Errorf("engine: tag: %w", err)
	}
	return nil
}

func (b *Bucket) writeTag(name string, version uint64) error {
	info, err := b.home.FS.Stat(lance.ManifestPath(b.tablePath(), version))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	text, err := json.Marshal(tag{Version: version, CreatedAt: now, UpdatedAt: now, ManifestSize: info.Size, Metadata: map[string]string{}})
	if err != nil {
		return err
	}
	path := tagPath(b.tablePath(), name)
	if err := b.home.FS.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	// Lance takes every file in the directory of a tag for one.
	return statefile.WriteTextVia(b.home.FS, filepath.Join(b.home.Path, "tag.tmp"), path, text)
}

// Untag takes a tag away, on disk when the call returns. The version goes with the
// next compaction.
func (b *Bucket) Untag(name string) error {
	if err := b.writable(); err != nil {
		return err
	}
	b.compacting.Lock()
	defer b.compacting.Unlock()
	tags, err := b.allTags()
	if err != nil {
		return err
	}
	if _, there := tags[name]; !there {
		return fmt.Errorf("%w: tag %q", engine.ErrNotFound, name)
	}
	if err := b.tagged.Change(func(versions map[string]int64) { delete(versions, name) }); err != nil {
		return fmt.Errorf("engine: untag: %w", err)
	}
	path := tagPath(b.tablePath(), name)
	if err := b.home.FS.Remove(path); err != nil {
		return fmt.Errorf("engine: untag: %w", err)
	}
	if err := b.home.FS.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("engine: untag: %w", err)
	}
	return nil
}

// tags reads the files of all tags.
func (b *Bucket) tags() (map[string]tag, error) {
	files, err := b.home.FS.ReadDir(filepath.Dir(tagPath(b.tablePath(), "")))
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
		if tags[name], err = readTag(b.home.FS, b.tablePath(), name); err != nil {
			return nil, err
		}
	}
	return tags, nil
}

func readTag(filesystem vfs.FS, table, name string) (t tag, err error) {
	text, err := statefile.Whole(filesystem, tagPath(table, name), maxTagBytes)
	if err != nil {
		return t, fmt.Errorf("engine: read tag %q: %w", name, err)
	}
	err = json.Unmarshal(text, &t)
	if err == nil && t.Version == 0 {
		err = errors.New("it names no version")
	}
	if err != nil {
		return t, fmt.Errorf("%w: tag %q: %w", engine.ErrCorrupt, name, err)
	}
	return t, nil
}

// allTags is tags, and refuses those that are not as noted. The caller holds
// b.compacting.
func (b *Bucket) allTags() (map[string]tag, error) {
	tags, err := b.tags()
	if err != nil {
		return nil, err
	}
	noted, err := b.tagged.All()
	if err != nil {
		return nil, err
	}
	for name, version := range noted {
		if t := tags[name]; t.Version != uint64(version) {
			return nil, fmt.Errorf("%w: tag %q names version %d, and named %d; open the bucket anew to have it written again", engine.ErrCorrupt, name, t.Version, version)
		}
	}
	return tags, nil
}

// strayTag is a tag whose file is not as noted.
type strayTag struct {
	name    string
	version uint64
	why     string
	gone    bool // so is the version
}

func (s strayTag) String() string {
	what := fmt.Sprintf("tag %q of version %d: %s", s.name, s.version, s.why)
	if s.gone {
		what += ", and so is the version"
	}
	return what
}

// strayTags finds the tags in the table, which may not be open, that are not as noted.
func strayTags(filesystem vfs.FS, table string, noted map[string]int64) (stray []strayTag, err error) {
	for _, name := range slices.Sorted(maps.Keys(noted)) {
		s := strayTag{name: name, version: uint64(noted[name])}
		_, err := filesystem.Stat(lance.ManifestPath(table, s.version))
		if s.gone = errors.Is(err, fs.ErrNotExist); err != nil && !s.gone {
			return nil, fmt.Errorf("engine: read tag %q: %w", name, err)
		}
		t, err := readTag(filesystem, table, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.why = "its file is gone"
		case err != nil:
			s.why = err.Error()
		case t.Version != s.version:
			s.why = fmt.Sprintf("its file names version %d", t.Version)
		case !s.gone:
			continue
		default:
			s.why = "its file is there"
		}
		stray = append(stray, s)
	}
	return stray, nil
}

// restoreTags writes tags anew that were lost or are damaged. A salvage forgets
// those whose versions are gone.
func (b *Bucket) restoreTags() error {
	noted, err := b.tagged.All()
	if err != nil {
		return err
	}
	stray, err := strayTags(b.home.FS, b.tablePath(), noted)
	for _, s := range stray {
		switch {
		case !s.gone:
			b.logger.Warn("a tag is written anew", "tag", s.String())
			err = b.writeTag(s.name, s.version)
		case b.opts.WALRecovery == "salvage":
			b.logger.Error("a tag is forgotten", "tag", s.String())
			if err = statefile.KeepBroken(tagPath(b.tablePath(), s.name)); err == nil {
				err = b.tagged.Change(func(versions map[string]int64) { delete(versions, s.name) })
			}
		default:
			err = fmt.Errorf("%w: %s", engine.ErrCorrupt, s)
		}
		if err != nil {
			return fmt.Errorf("engine: restore tags: %w", err)
		}
	}
	return err
}

// checkRefs refuses files among tags and branches that Lance, which reads each as a
// whole, could not read in little memory.
func (b *Bucket) checkRefs() error {
	for _, kind := range []string{"tags", "branches"} {
		dir := filepath.Join(b.tablePath(), "_refs", kind)
		files, err := vfs.OS.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("engine: read %s: %w", kind, err)
		}
		for _, file := range files {
			if _, err := statefile.Whole(vfs.OS, filepath.Join(dir, file), maxTagBytes); err != nil {
				return fmt.Errorf("engine: read %s: %w", kind, err)
			}
		}
	}
	return nil
}
