package retention

import (
	"fmt"
	"path/filepath"
	"sort"
	"time"

	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/vfs"
)

// Bounds are what is kept of the newest rows; 0 is no bound.
type Bounds struct {
	Rows, Bytes int64
	Age         time.Duration // since a row came into the table
}

// Version is a version of the table.
type Version interface {
	// Rows is how many there are, and NextRowID how many there ever were.
	Rows() int64
	NextRowID() int64
	// Place returns how many rows have ids below id, and the run of ids that are left at or after it.
	Place(id int64) (rank, first, end int64, err error)
	// BytesFrom is what the rows from id on take in the data files.
	BytesFrom(id int64) (int64, error)
}

const (
	// Slack is the part of a bound by which a bucket may exceed it before
	// the background work removes rows, and the part of the age by which they may
	// be older: each removal makes a version of the table.
	Slack = 8

	// waste is the part of the rows in the table that those removed may
	// take in its files before they are rewritten.
	waste = 4
)

// Retention knows which rows are not to be kept.
type Retention struct {
	bounds Bounds
	times  times
}

// New keeps to bounds in the bucket in dir.
func New(filesystem vfs.FS, dir string, bounds Bounds) *Retention {
	step := bounds.Age / (2 * Slack) // for the entries, and for the looks at them
	return &Retention{bounds: bounds, times: times{fs: filesystem, path: filepath.Join(dir, layout.TimesFile), step: step}}
}

// Bounded says whether there are rows that are not kept.
func (r *Retention) Bounded() bool { return r.bounds != Bounds{} }

// Open reads how old rows are, up to rows, and nobody else knows the retention yet. Those that nothing is known of are taken to be as
// old as the newest version of the table, which newest returns: older they may be, younger not.
func (r *Retention) Open(rows int64, newest func() (time.Time, error)) error {
	if r.bounds.Age == 0 {
		return nil
	}
	if err := r.times.open(); err != nil || rows <= r.times.known() {
		return err
	}
	at, err := newest()
	if err != nil {
		return err
	}
	return r.times.note(rows, 0, at)
}

// Note says that the rows below an offset are in the table now, and that those below first are removed. It is for a bound on their
// age, and writes times.json.
func (r *Retention) Note(rows, first int64, now time.Time) error {
	return r.times.note(rows, first, now)
}

// Ticker ticks as often as rows can become too old; nil when they cannot.
func (r *Retention) Ticker() *time.Ticker {
	if r.bounds.Age == 0 {
		return nil
	}
	// An age of milliseconds must not cost a processor, and with one of weeks a look costs nothing: once a minute it notices that the
	// clock was set or that the machine slept.
	return time.NewTicker(min(max(r.times.step, 10*time.Millisecond), time.Minute))
}

// Cut returns the offset below which the rows of a bucket that ends at end are to be removed from a version of its table; 0 is none.
// Unless exact, it lets a bound be exceeded by as much as makes a removal worth its version.
func (r *Retention) Cut(s Version, end int64, now time.Time, exact bool) (cut int64, err error) {
	over := func(have, bound int64) bool {
		excess := have - bound
		return excess > 0 && (exact || excess > bound/Slack)
	}
	if bound := r.bounds.Rows; bound > 0 {
		rows := s.Rows() + end - s.NextRowID() // with those in memory, which are the newest, and none of them removed
		if over(rows, bound) {
			excess := rows - bound
			cut, err = firstWhere(s, func(id int64) (bool, error) {
				rank, _, _, err := s.Place(id)
				return rank >= excess, err
			})
		}
	}
	if bound := r.bounds.Bytes; err == nil && bound > 0 {
		var bytes, at int64
		bytes, err = s.BytesFrom(0)
		if err == nil && over(bytes, bound) {
			at, err = firstWhere(s, func(id int64) (bool, error) {
				left, err := s.BytesFrom(id)
				return left <= bound, err
			})
			cut = max(cut, at)
		}
	}
	if err == nil && r.bounds.Age > 0 {
		cut = max(cut, r.times.before(now.Add(-r.bounds.Age)))
	}
	if err != nil {
		return 0, fmt.Errorf("engine: retention: %w", err)
	}
	// Where all of these are removed already there is nothing to do: a removal of nothing would be a version, and each version a
	// manifest that the next clean-up has to remove.
	_, first, _, err := s.Place(0)
	if cut = min(cut, s.NextRowID()); err != nil || cut <= first {
		return 0, err
	}
	return cut, nil
}

// firstWhere returns the first row id for which a predicate holds that holds for
// all after it, or the next row id.
func firstWhere(s Version, holds func(int64) (bool, error)) (id int64, err error) {
	n := sort.Search(int(s.NextRowID()), func(i int) bool {
		if err != nil {
			return true
		}
		var yes bool
		yes, err = holds(int64(i))
		return yes
	})
	return int64(n), err
}

// Wasteful says that files of so many bytes, of which the rows take used, are worth to be rewritten without what was removed.
func Wasteful(bytes, used int64) bool { return bytes-used > used/waste }
