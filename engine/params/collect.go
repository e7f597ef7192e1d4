package params

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/metrics"
)

// Collected is what a collector removed.
type Collected struct {
	Packs     int   `json:"packs"`
	Manifests int   `json:"manifests"`
	Staged    int   `json:"staged"` // files of saves that died
	Bytes     int64 `json:"bytes"`
	Leased    int   `json:"leased"` // versions that are kept because they are open
}

// Collect removes what no version needs that the catalog has or that is open: packs, manifests, and what saves left that died.
// A pack is kept as a whole as long as one tensor of it is needed. It does nothing where a catalog or a manifest is damaged.
func (s *Store) Collect() (_ *Collected, err error) {
	defer s.counted(metrics.Collect, time.Now(), &err)
	if err := s.open(); err != nil {
		return nil, err
	}
	c := &collector{s: s, found: &Collected{}, manifests: map[ident]string{}, packs: map[ident]bool{}}
	if err := s.alone(c.run); err != nil {
		return nil, fmt.Errorf("params: collect: %w", err)
	}
	s.metrics.Collected(int64(c.found.Packs+c.found.Manifests+c.found.Staged), c.found.Bytes)
	return c.found, nil
}

type collector struct {
	s         *Store
	found     *Collected
	manifests map[ident]string // that are needed, with their checksums where those are known
	packs     map[ident]bool   // that are needed
}

// run does all. The caller is alone behind the gate.
func (c *collector) run() error {
	all, err := c.s.catalog()
	if err != nil {
		return err
	}
	for _, n := range all {
		for _, e := range n.Versions {
			c.manifests[e.Manifest] = e.Sum
		}
	}
	saves, err := c.leases()
	if err != nil {
		return err
	}
	for id, check := range c.manifests {
		if err := c.mark(id, check); err != nil {
			return err
		}
	}
	if err := c.parts(saves); err != nil {
		return err
	}
	return errors.Join(
		c.sweep(manifests, manifestEnd, &c.found.Manifests, saves, func(id ident) bool { _, needed := c.manifests[id]; return needed }),
		c.sweep(packs, packEnd, &c.found.Packs, saves, func(id ident) bool { return c.packs[id] }),
	)
}

// leases adds the manifests that are open and returns the saves that live.
func (c *collector) leases() (saves map[string]bool, err error) {
	saves = map[string]bool{}
	names, err := c.s.o.FS.ReadDir(c.s.path(leases))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		alive, err := c.s.locks.leased(name)
		if err != nil {
			return nil, err
		}
		if !alive {
			continue
		}
		if save, ok := strings.CutPrefix(name, saveLease); ok {
			saves[save] = true
		} else if id, ok := leasedManifest(name); ok {
			c.found.Leased++
			if _, known := c.manifests[id]; !known {
				c.manifests[id] = ""
			}
		}
	}
	return saves, nil
}

// mark notes the packs that a manifest needs.
func (c *collector) mark(id ident, check string) error {
	m, err := readManifest(c.s.o.FS, c.s.manifestPath(id), check)
	if errors.Is(err, fs.ErrNotExist) {
		return pack.Damaged(c.s.manifestPath(id), "it is gone")
	}
	if err != nil {
		return err
	}
	for _, id := range m.packs {
		c.packs[id] = true
	}
	return nil
}

// parts notes the packs that the parts of living transactions share.
func (c *collector) parts(saves map[string]bool) error {
	files, err := c.s.o.FS.ReadDir(c.s.path(manifests))
	if err != nil {
		return err
	}
	for _, file := range files {
		id, _, ok := strings.Cut(file, partMark)
		if !ok || !saves[id] {
			continue
		}
		m, err := readManifest(c.s.o.FS, c.s.path(manifests, file), "")
		if err != nil {
			return err
		}
		for _, id := range m.packs {
			c.packs[id] = true
		}
	}
	return nil
}

// sweep removes files of a directory that are not needed, and those of saves that do not live.
func (c *collector) sweep(dir, ending string, count *int, saves map[string]bool, needed func(ident) bool) error {
	files, err := c.s.o.FS.ReadDir(c.s.path(dir))
	if err != nil {
		return err
	}
	for _, file := range files {
		save, _, _ := strings.Cut(file, ".")
		id, ok := parseIdent(file, ending)
		var err error
		switch {
		case ok && !needed(id):
			err = c.remove(c.s.path(dir, file), count)
		case strings.HasSuffix(file, stagedEnd) && !saves[save]:
			err = c.remove(c.s.path(dir, file), &c.found.Staged)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) remove(path string, count *int) error {
	info, err := c.s.o.FS.Stat(path)
	if err != nil {
		return err
	}
	if err := c.s.o.FS.Remove(path); err != nil {
		return err
	}
	*count++
	c.found.Bytes += info.Size
	return nil
}
