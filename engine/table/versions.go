package table

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/persisting/persisting/engine/lance"
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
func (t *Table) Versions() ([]Version, error) {
	table, newest, done, err := t.versioned()
	if err != nil || table == nil {
		return []Version{}, err
	}
	versions, err := t.versionsOf(table, newest)
	return versions, errors.Join(err, done())
}

func (t *Table) versionsOf(table *lance.Table, newest uint64) ([]Version, error) {
	// The files of Lance and not the register: a version is kept by what Lance sees.
	tags, err := t.tags()
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
		for name, tag := range tags {
			if tag.Version == c.Version {
				v.Tags = append(v.Tags, name)
			}
		}
		slices.Sort(v.Tags)
		versions = append(versions, v)
	}
	return versions, nil
}
