package table

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

// TagPath is the file of a tag.
func TagPath(table, name string) string {
	return filepath.Join(table, "_refs", "tags", name+tagSuffix)
}

// CheckTag returns an [engine.ErrName] for what no tag can be called.
func CheckTag(name string) error {
	if !tagName.MatchString(name) || strings.HasSuffix(name, ".lock") {
		return fmt.Errorf("%w: %q: want letters, digits, '-', '_' and, inside, '.'", engine.ErrName, name)
	}
	return nil
}

// Tag gives a version a name, under which Lance and its clean-up know it as well.
// The tag is on disk when the call returns.
//
// The file is written here and not by Lance, which would neither sync it nor keep a
// power failure from leaving half of it. What it names is noted in tags.json before:
// the next open writes a tag anew that was lost or is damaged. The caller holds
// t.Reshaping, so that no clean-up comes between.
func (t *Table) Tag(name string, version uint64) error {
	if err := CheckTag(name); err != nil {
		return err
	}
	view, err := t.At(version)
	if err != nil {
		return err
	}
	defer view.snapshot.Release()
	tags, err := t.allTags()
	if err != nil {
		return err
	}
	have, taken := tags[name]
	switch {
	case taken && have.Version == version:
		return nil
	case taken:
		return fmt.Errorf("%w: %q is version %d; untag it first", engine.ErrName, name, have.Version)
	}
	err = t.tagged.Change(func(versions map[string]int64) {
		// Noted before the file is made. A crash after that leaves a note without Lance's file,
		// which the next open writes; the other way round it would leave a file of Lance's that may
		// be torn, and nothing to say what it was.
		for name, have := range tags { // some may be from before they were noted
			versions[name] = int64(have.Version)
		}
		versions[name] = int64(version)
	})
	if err == nil {
		err = t.writeTag(name, version)
	}
	if err != nil {
		return fmt.Errorf("engine: tag: %w", err)
	}
	return nil
}

func (t *Table) writeTag(name string, version uint64) error {
	info, err := t.home.FS.Stat(lance.ManifestPath(t.path, version))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	text, err := json.Marshal(tag{Version: version, CreatedAt: now, UpdatedAt: now, ManifestSize: info.Size, Metadata: map[string]string{}})
	if err != nil {
		return err
	}
	path := TagPath(t.path, name)
	if err := t.home.FS.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	// Lance takes every file in the directory of a tag for one.
	return statefile.WriteTextVia(t.home.FS, filepath.Join(t.home.Path, tagTemp), path, text)
}

// Untag takes a tag away, on disk when the call returns. The version goes with the
// next clean-up. The caller holds t.Reshaping.
func (t *Table) Untag(name string) error {
	tags, err := t.allTags()
	if err != nil {
		return err
	}
	if _, there := tags[name]; !there {
		return fmt.Errorf("%w: tag %q", engine.ErrNotFound, name)
	}
	// Forgotten first, for the same reason: a note without its file would bring the tag back.
	if err := t.tagged.Change(func(versions map[string]int64) { delete(versions, name) }); err != nil {
		return fmt.Errorf("engine: untag: %w", err)
	}
	path := TagPath(t.path, name)
	if err := t.home.FS.Remove(path); err != nil {
		return fmt.Errorf("engine: untag: %w", err)
	}
	if err := t.home.FS.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("engine: untag: %w", err)
	}
	return nil
}

// tags reads the files of all tags.
func (t *Table) tags() (map[string]tag, error) {
	files, err := t.home.FS.ReadDir(filepath.Dir(TagPath(t.path, "")))
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
		if tags[name], err = readTag(t.home.FS, t.path, name); err != nil {
			return nil, err
		}
	}
	return tags, nil
}

func readTag(filesystem vfs.FS, table, name string) (t tag, err error) {
	text, err := statefile.Whole(filesystem, TagPath(table, name), maxTagBytes)
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
// t.Reshaping.
func (t *Table) allTags() (map[string]tag, error) {
	tags, err := t.tags()
	if err != nil {
		return nil, err
	}
	noted, err := t.tagged.All()
	if err != nil {
		return nil, err
	}
	for name, version := range noted {
		if have := tags[name]; have.Version != uint64(version) {
			return nil, fmt.Errorf("%w: tag %q names version %d, and named %d; open the bucket anew to have it written again", engine.ErrCorrupt, name, have.Version, version)
		}
	}
	return tags, nil
}

// StrayTag is a tag whose file is not as noted.
type StrayTag struct {
	Name    string
	Version uint64
	Why     string
	Gone    bool // so is the version
}

func (s StrayTag) String() string {
	what := fmt.Sprintf("tag %q of version %d: %s", s.Name, s.Version, s.Why)
	if s.Gone {
		what += ", and so is the version"
	}
	return what
}

// StrayTags finds the tags in the table, which may not be open, that are not as noted.
func StrayTags(filesystem vfs.FS, table string, noted map[string]int64) (stray []StrayTag, err error) {
	for _, name := range slices.Sorted(maps.Keys(noted)) {
		s := StrayTag{Name: name, Version: uint64(noted[name])}
		// A version is there if its manifest is; whether it is sound is for whoever opens it.
		_, err := filesystem.Stat(lance.ManifestPath(table, s.Version))
		if s.Gone = errors.Is(err, fs.ErrNotExist); err != nil && !s.Gone {
			return nil, fmt.Errorf("engine: read tag %q: %w", name, err)
		}
		t, err := readTag(filesystem, table, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.Why = "its file is gone"
		case err != nil:
			s.Why = err.Error()
		case t.Version != s.Version:
			s.Why = fmt.Sprintf("its file names version %d", t.Version)
		case !s.Gone:
			continue
		default:
			s.Why = "its file is there"
		}
		stray = append(stray, s)
	}
	return stray, nil
}

// restoreTags writes tags anew that were lost or are damaged. A salvage forgets
// those whose versions are gone.
func (t *Table) restoreTags() error {
	noted, err := t.tagged.All()
	if err != nil {
		return err
	}
	stray, err := StrayTags(t.home.FS, t.path, noted)
	for _, s := range stray {
		switch {
		case !s.Gone:
			// The version is kept by nothing until then, so this is done before the table can be
			// cleaned up.
			t.o.Logger.Warn("a tag is written anew", "tag", s.String())
			err = t.writeTag(s.Name, s.Version)
		case t.o.Salvage:
			t.o.Logger.Error("a tag is forgotten", "tag", s.String())
			// The file first: with the note gone and the file there, Lance would go on looking for
			// the version.
			if err = statefile.KeepBroken(TagPath(t.path, s.Name)); err == nil {
				err = t.tagged.Change(func(versions map[string]int64) { delete(versions, s.Name) })
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
func (t *Table) checkRefs() error {
	for _, kind := range []string{"tags", "branches"} {
		dir := filepath.Join(t.path, "_refs", kind)
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
