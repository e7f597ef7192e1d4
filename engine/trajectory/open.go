package trajectory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/content"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/trajectory/mirror"
	"github.com/persisting/persisting/vfs"
)

const (
	identityFile = "trajectories"
	stepsDir     = "steps"
	episodesDir  = "episodes"

	formatVersion = 1
)

// identity is the content of the file "trajectories".
type identity struct {
	Format int `json:"format"`
}

// Open opens the store of a directory, which is made if it is missing, and recovers what a crash left.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := statefile.RealPath(dir)
	if err != nil {
		return nil, fmt.Errorf("trajectory: path of store: %w", err)
	}
	if err := identify(dir, o); err != nil {
		return nil, fmt.Errorf("trajectory: open %s: %w", dir, err)
	}
	s := &Store{o: o, dir: dir, now: time.Now, index: newIndex()}
	s.sheets = sheets{to: s, fs: o.FS, open: map[*Sheet]bool{}, stop: make(chan struct{})}
	if s.steps, err = s.bucket(stepsDir); err != nil {
		return nil, err
	}
	if s.episodes, err = s.bucket(episodesDir); err != nil {
		return nil, errors.Join(err, s.steps.Close())
	}
	// After the steps: those that they name were there before them.
	if s.content, err = content.Open(filepath.Join(dir, contentDir), s.o.bucket(), o.ReadOnly); err != nil {
		return nil, errors.Join(err, s.steps.Close(), s.episodes.Close())
	}
	err = s.recover()
	if err == nil {
		err = s.recoverRanks()
	}
	if err == nil && !o.ReadOnly {
		// Now, as rows that were lost come anew, with other values, whether there is a sampler or not.
		err = mirror.Forget(o.FS, filepath.Join(dir, mirrorDir), s.index.rows)
	}
	if err == nil && !o.ReadOnly {
		err = s.recoverLent() // before there are other steps at the offsets of those that were lost
	}
	if err == nil && !o.ReadOnly {
		err = s.recoverSheets()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if o.Metrics != nil {
		s.metrics = o.Metrics.Trajectories(dir, s.survey, kindOf)
	}
	if !o.ReadOnly && s.content.Count() > 0 {
		s.sweepBeside()
	}
	return s, nil
}

// identify reads what says that a directory is a store, and makes it where there is nothing.
func identify(dir string, o Options) error {
	path := filepath.Join(dir, identityFile)
	content, err := statefile.Read(o.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return create(dir, path, o)
	}
	if err != nil {
		return err
	}
	var found identity
	if err := json.Unmarshal(content, &found); err != nil {
		return fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, path, err)
	}
	if found.Format != formatVersion {
		return fmt.Errorf("the store has format version %d, this program knows %d", found.Format, formatVersion)
	}
	return nil
}

// create makes the file that says what the directory is, which must be empty: a store that has lost it is damaged.
func create(dir, path string, o Options) error {
	names, err := o.FS.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range names {
		switch name {
		case stepsDir, episodesDir, contentDir, sheetsDir, leasesDir:
			return fmt.Errorf("%w: %s is gone", engine.ErrCorrupt, path)
		case identityFile + ".tmp": // of a creation that was cut short
		default:
			return invalid("it holds %s and is no store of trajectories: want an empty directory", name)
		}
	}
	if o.ReadOnly {
		return fmt.Errorf("%w: there is no store of trajectories", ErrNotFound)
	}
	if err := o.FS.MkdirAll(dir); err != nil {
		return err
	}
	content, err := json.Marshal(identity{formatVersion})
	if err != nil {
		return err
	}
	return statefile.Write(o.FS, path, content)
}

func (s *Store) bucket(name string) (*bucket.Bucket, error) {
	path := filepath.Join(s.dir, name)
	if s.o.ReadOnly {
		return bucket.OpenReadOnly(path, s.o.bucket())
	}
	return bucket.Open(path, s.o.bucket())
}

// recover makes the index of what is there.
func (s *Store) recover() error {
	endings, err := s.recoverEpisodes()
	if err != nil {
		return err
	}
	if err := s.recoverSteps(); err != nil {
		return err
	}
	for number, end := range endings {
		e := s.index.episodes[number]
		if end.state == ended && (end.Steps != e.Steps || end.last != e.last) {
			continue // its last steps are lost, and so it did not end
		}
		e.state, e.row = end.state, end.row
		steps := e.Steps
		e.Ending = end.Ending
		e.Steps = steps
	}
	return nil
}

// recoverEpisodes reads what happened to episodes; it begins them, and returns how they ended.
func (s *Store) recoverEpisodes() (map[uint32]*episode, error) {
	endings := map[uint32]*episode{}
	total := s.episodes.Acknowledged()
	if total == 0 {
		return endings, nil
	}
	c, err := s.episodes.Read(0, total, false)
	if err != nil {
		return nil, err
	}
	return endings, each(c, func(rec arrow.Record, before int64) error {
		if !batch.SameColumns(rec.Schema(), events) {
			return fmt.Errorf("%w: the episodes of %s have the columns %v", engine.ErrCorrupt, s.dir, rec.Schema())
		}
		for i := range int(rec.NumRows()) {
			e, err := eventAt(rec, i)
			if err != nil {
				return err
			}
			e.row = before + int64(i)
			if e.state != open {
				endings[e.number] = e
				continue
			}
			e.Ending, e.last, e.active = Ending{}, false, s.now()
			s.index.begin(e)
		}
		return nil
	})
}

// recoverSteps reads to which episodes the steps belong.
func (s *Store) recoverSteps() error {
	total := s.steps.Acknowledged()
	if total == 0 {
		return nil
	}
	schema, _ := s.steps.Schema()
	s.frame = frameFrom(schema)
	c, err := s.steps.Query(table.Query{Columns: []string{EpisodeColumn, StepColumn, BootstrapColumn}}, nil)
	if err != nil {
		return err
	}
	err = each(c, func(rec arrow.Record, _ int64) error {
		numbers, steps := rec.Column(0).(*array.Uint32), rec.Column(1).(*array.Uint32)
		lasts := rec.Column(2).(*array.Boolean)
		for i := 0; i < numbers.Len(); {
			n := runLength(numbers, steps, lasts, i)
			e := s.index.episode(numbers.Value(i))
			if e.state == unknown && e.rows() == 0 && steps.Value(i) > 0 {
				e.Steps = int64(steps.Value(i)) // of what was lost with its begin, nobody asks
			}
			if int64(steps.Value(i)) != e.rows() || e.last {
				return fmt.Errorf("%w: %s: row %d is step %d of episode %d, which has %d", engine.ErrCorrupt, s.dir, s.index.rows, steps.Value(i), e.number, e.rows())
			}
			s.index.add(e, int64(n), lasts.Value(i))
			i += n
		}
		return nil
	})
	if err == nil && s.index.rows < total {
		err = fmt.Errorf("%w: %s has %d rows, want %d", engine.ErrCorrupt, filepath.Join(s.dir, stepsDir), s.index.rows, total)
	}
	s.index.visible = s.index.rows
	return err
}

// runLength returns how many rows from the i-th on are steps of one episode, one after the other.
func runLength(numbers, steps *array.Uint32, lasts *array.Boolean, i int) int {
	n := 1
	if lasts.Value(i) {
		return n
	}
	for i+n < numbers.Len() && numbers.Value(i+n) == numbers.Value(i) && steps.Value(i+n) == steps.Value(i)+uint32(n) && !lasts.Value(i+n) {
		n++
	}
	return n
}
