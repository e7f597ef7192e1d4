package params

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/engine/statefile"
)

// Latest is the tag of the newest version, which nobody sets and which never goes back.
const Latest = "latest"

// Entry is a version in the catalog.
type Entry struct {
	Version  uint64          `json:"version"`
	Created  int64           `json:"created"` // Unix milliseconds
	Tensors  int             `json:"tensors"`
	Bytes    int64           `json:"bytes"`          // of all tensors
	Stored   int64           `json:"stored"`         // bytes that it added to the store
	Base     uint64          `json:"base,omitempty"` // version that changes were told from, 0 for none
	Metadata json.RawMessage `json:"metadata,omitempty"`
	Manifest ident           `json:"manifest"`
	Sum      string          `json:"sum"`             // checksum of the manifest
	Origin   ident           `json:"origin,omitzero"` // manifest of the version in the store that it was pushed from
}

// Name is what the catalog has of one.
type Name struct {
	Name     string            `json:"name"`
	Latest   uint64            `json:"latest"` // 0 while there is none
	Next     uint64            `json:"next"`   // version that is given next; none is ever given twice
	Tags     map[string]uint64 `json:"tags"`
	Versions []Entry           `json:"versions"` // ascending
}

func (n *Name) find(version uint64) (int, bool) {
	return slices.BinarySearchFunc(n.Versions, version, func(e Entry, v uint64) int {
		switch {
		case e.Version < v:
			return -1
		case e.Version > v:
			return 1
		}
		return 0
	})
}

// resolve finds the version that is meant by a number, a tag or "latest".
func (n *Name) resolve(ref string) (*Entry, error) {
	version, err := n.number(ref)
	if err != nil {
		return nil, err
	}
	i, found := n.find(version)
	if !found {
		return nil, fmt.Errorf("%w: %q has no version %d", ErrNotFound, n.Name, version)
	}
	return &n.Versions[i], nil
}

func (n *Name) number(ref string) (uint64, error) {
	if ref == Latest {
		if n.Latest == 0 {
			return 0, fmt.Errorf("%w: %q has no version", ErrNotFound, n.Name)
		}
		return n.Latest, nil
	}
	if version, tagged := n.Tags[ref]; tagged {
		return version, nil
	}
	version, err := strconv.ParseUint(ref, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q has no tag %q", ErrNotFound, n.Name, ref)
	}
	return version, nil
}

// tagsOf are the tags of a version, in order.
func (n *Name) tagsOf(version uint64) []string {
	var tags []string
	for tag, at := range n.Tags {
		if at == version {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

// longestTag is more than any needs.
const longestTag = 200

// checkTag refuses what is not told from a version number or from the newest.
func checkTag(tag string) error {
	_, err := strconv.ParseUint(tag, 10, 64)
	switch {
	case tag == "" || len(tag) > longestTag:
		return invalid("the tag %.60q has %d bytes, want 1 to %d", tag, len(tag), longestTag)
	case err == nil:
		return invalid("the tag %q would be a version number", tag)
	case tag == Latest:
		return invalid("the tag %q is always that of the newest version", tag)
	case strings.ContainsFunc(tag, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return invalid("the tag %q has characters that cannot be printed", tag)
	}
	return nil
}

// read returns what the catalog has of a name; of one that never was, that it has no version.
func (s *Store) read(name string) (*Name, error) {
	file, err := fileName(name)
	if err != nil {
		return nil, err
	}
	path := s.path(catalogDir, file)
	content, err := statefile.Read(s.o.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Name{Name: name, Next: 1, Tags: map[string]uint64{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("params: catalog: %w", err)
	}
	var found Name
	if err := json.Unmarshal(content, &found); err != nil {
		return nil, pack.Damaged(path, "%v", err)
	}
	if found.Name != name {
		return nil, pack.Damaged(path, "it is the catalog of %q", found.Name)
	}
	return &found, nil
}

// write replaces what the catalog has of a name. The caller is alone behind the gate.
func (s *Store) write(n *Name) error {
	file, err := fileName(n.Name)
	if err != nil {
		return err
	}
	content, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("params: catalog: %w", err)
	}
	return statefile.Write(s.o.FS, s.path(catalogDir, file), content)
}

// change replaces what the catalog has of a name by what do makes of it.
func (s *Store) change(name string, do func(*Name) error) error {
	if err := s.open(); err != nil {
		return err
	}
	return s.alone(func() error {
		n, err := s.read(name)
		if err != nil {
			return err
		}
		if err := do(n); err != nil {
			return err
		}
		return s.write(n)
	})
}

// SetTag has a tag name the version that ref means, which may be another tag. With expect it fails with [ErrConflict] unless
// the tag is at that version before, 0 standing for nowhere.
func (s *Store) SetTag(name, tag, ref string, expect *uint64) (version uint64, err error) {
	if err := checkTag(tag); err != nil {
		return 0, err
	}
	err = s.change(name, func(n *Name) error {
		if err := n.expects(tag, expect); err != nil {
			return err
		}
		entry, err := n.resolve(ref)
		if err != nil {
			return err
		}
		version = entry.Version
		n.Tags[tag] = version
		return nil
	})
	return version, err
}

// DeleteTag removes a tag; expect is as of [Store.SetTag].
func (s *Store) DeleteTag(name, tag string, expect *uint64) error {
	return s.change(name, func(n *Name) error {
		if err := n.expects(tag, expect); err != nil {
			return err
		}
		if _, there := n.Tags[tag]; !there {
			return fmt.Errorf("%w: %q has no tag %q", ErrNotFound, name, tag)
		}
		delete(n.Tags, tag)
		return nil
	})
}

func (n *Name) expects(tag string, expect *uint64) error {
	if expect == nil || n.Tags[tag] == *expect {
		return nil
	}
	return fmt.Errorf("%w: the tag %q of %q is at version %d, not at %d (0 is nowhere)", ErrConflict, tag, n.Name, n.Tags[tag], *expect)
}

// Delete removes versions of a name from the catalog, all if there are none in versions; their bytes go with the next
// [Store.Collect]. A version that a tag names, or the newest, goes with all only.
func (s *Store) Delete(name string, versions []uint64) error {
	return s.change(name, func(n *Name) error {
		if len(versions) == 0 {
			if n.Latest == 0 {
				return fmt.Errorf("%w: there is no %q", ErrNotFound, name)
			}
			n.Latest, n.Tags, n.Versions = 0, map[string]uint64{}, nil
			return nil
		}
		for _, version := range versions {
			if err := n.remove(version); err != nil {
				return err
			}
		}
		return nil
	})
}

func (n *Name) remove(version uint64) error {
	i, found := n.find(version)
	if !found {
		return fmt.Errorf("%w: %q has no version %d", ErrNotFound, n.Name, version)
	}
	if tags := n.tagsOf(version); len(tags) > 0 {
		return fmt.Errorf("%w: version %d of %q has the tag %q: move it first", ErrConflict, version, n.Name, tags[0])
	}
	if version == n.Latest {
		return fmt.Errorf("%w: version %d of %q is the newest, and \"latest\" never goes back: save another first", ErrConflict, version, n.Name)
	}
	n.Versions = slices.Delete(n.Versions, i, i+1)
	return nil
}

// List returns what the catalog has of all names that have a version, in order.
func (s *Store) List() ([]*Name, error) {
	all, err := s.catalog()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(n *Name) bool { return n.Latest == 0 }), nil
}

// Get returns what the catalog has of a name.
func (s *Store) Get(name string) (*Name, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	n, err := s.read(name)
	if err == nil && n.Latest == 0 {
		err = fmt.Errorf("%w: there is no %q", ErrNotFound, name)
	}
	return n, err
}

// catalog returns what the catalog has of all names.
func (s *Store) catalog() ([]*Name, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	all := []*Name{}
	err := s.walk(func(n *Name, err error) error {
		all = append(all, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// walk reads the catalog of each name, or learns why it cannot, until each fails.
func (s *Store) walk(each func(*Name, error) error) error {
	files, err := s.o.FS.ReadDir(s.path(catalogDir))
	if err != nil {
		return fmt.Errorf("params: catalog: %w", err)
	}
	for _, file := range files {
		name, ok := nameOf(file)
		if !ok {
			continue
		}
		if err := each(s.read(name)); err != nil {
			return err
		}
	}
	return nil
}
