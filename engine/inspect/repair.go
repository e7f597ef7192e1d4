package inspect

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/layout"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/wal"
)

// Repaired says what a repair does, or did.
type Repaired struct {
	Before Examination  `json:"before"`
	Steps  []string     `json:"steps"` // what it does; none where nothing is wrong
	Lost   [][2]int64   `json:"lost"`  // rows that are nowhere, [first, end), an end below zero is not known
	After  *Examination `json:"after"` // nil unless the repair was applied
}

// Repair finds the way to a bucket that opens with as many of its rows as there
// are, and goes it if apply is set. A row keeps its offset: what is lost between
// others is null in every column, what is lost at the end is gone. Damaged files
// are kept under other names. The bucket must not be open elsewhere. At the end reopen
// has to open it with a salvage, take the lock over, and close it again. [ErrCorrupt]
// says what is beyond repair.
func Repair(dir string, apply bool, reopen func(dir string, lock *statefile.Lock) error) (done Repaired, err error) {
	if dir, err = layout.Path(dir); err != nil {
		return done, err
	}
	var lock *statefile.Lock
	if apply {
		if lock, err = statefile.Hold(dir); err != nil {
			return done, err
		}
		defer func() {
			if lock != nil {
				err = errors.Join(err, lock.Undo())
			}
		}()
		// A plan for a bucket that is open would be of another bucket by the time that somebody reads
		// it.
	} else if err := unlocked(dir); err != nil {
		return done, err
	}
	x := newExaminer(dir, ExamineOptions{ReadRows: true})
	if err := x.examine(); err != nil {
		return done, err
	}
	if x.Table.Version != 0 {
		x.readAll()
	}
	done = Repaired{Before: x.Examination, Steps: []string{}, Lost: [][2]int64{}}
	if x.Sound {
		return done, nil
	}
	// As rows that were changed where nothing notes how: to choose for the user is not a repair.
	if x.obstacle != nil {
		return done, fmt.Errorf("%w, and beyond repair: %s", engine.ErrCorrupt, x.obstacle.Error())
	}
	p := x.plan()
	done.Steps, done.Lost = p.steps(), p.lost
	if !apply {
		return done, nil
	}
	// An examination of all rows may have taken hours.
	if err := lock.Check(); err != nil {
		return done, fmt.Errorf("engine: repair: %w", err)
	}
	if err := p.apply(); err != nil {
		return done, fmt.Errorf("engine: repair: %w", err)
	}
	// The repair ends with an open, so that what it leaves is what an open accepts, and nothing of
	// recovery is written a second time here.
	err = reopen(dir, lock)
	lock = nil
	if err != nil {
		return done, err
	}
	after, err := Examine(dir, ExamineOptions{ReadRows: true})
	done.After = &after
	return done, err
}

// unlocked returns a [*LockedError] while somebody has the bucket open.
func unlocked(dir string) error {
	holder, err := statefile.HolderOf(dir)
	if err == nil && holder != "" {
		err = &engine.LockedError{Path: dir, Holder: holder}
	}
	return err
}

// plan is a way out of faults.
type plan struct {
	x       *examiner
	version *lance.Version // that the table is to have; nil: none
	mend    bool           // its missing files are given up
	log     wal.Report     // of the log, and the ring, behind that version
	lost    [][2]int64

	ringFault error
}

// plan finds the version of the table with which the fewest rows are lost: the
// newest sound one, or a newer one without its damaged files.
func (x *examiner) plan() plan {
	best := x.planWith(x.state.Head(), false)
	for i := range x.state.Versions {
		v := &x.state.Versions[i]
		if v == x.state.Head() {
			break
		}
		if !v.Mendable() {
			continue
		}
		// Fewer, and not as many: with the same loss the version that needs no file given up is the
		// better one.
		if p := x.planWith(v, true); count(p.lost) < count(best.lost) {
			best = p
		}
	}
	return best
}

func (x *examiner) planWith(v *lance.Version, mend bool) plan {
	p := plan{x: x, version: v, mend: mend, lost: [][2]int64{}}
	var next int64
	if v != nil {
		next = v.NextRowID
		for _, f := range v.Flaws {
			p.lose(f.Rows...)
		}
	}
	// Another examiner, as each plan reads the log from its own row on, and its faults are none of
	// the bucket's.
	silent := newExaminer(x.dir, ExamineOptions{})
	silent.id = x.id
	p.log = silent.readLog(next)
	p.ringFault = silent.readRing(p.log.End)
	p.log.End += silent.Ring.Rows
	p.log.Rows += silent.Ring.Rows
	for _, r := range p.log.Missing {
		p.lose([2]int64{r.First, r.End})
	}
	if p.log.End < x.mark.Rows {
		p.lose([2]int64{p.log.End, x.mark.Rows})
	}
	if x.lostLog(p.log) {
		p.lose([2]int64{max(p.log.End, x.mark.Rows), -1})
	}
	return p
}

// lose adds rows to those that are lost, once each.
func (p *plan) lose(rows ...[2]int64) {
	for _, r := range rows {
		known := false
		for i, l := range p.lost {
			if r[0] >= l[0] && r[0] <= l[1] && r[1] >= 0 {
				p.lost[i][1] = max(l[1], r[1])
				known = true
			}
		}
		if !known {
			p.lost = append(p.lost, r)
		}
	}
}

// count counts rows; of those without an end, one.
func count(rows [][2]int64) (n int64) {
	for _, r := range rows {
		n += max(r[1]-r[0], 1)
	}
	return n
}

// steps says what apply, and the opening after it, do.
func (p *plan) steps() (steps []string) {
	// In the order in which apply and the opening do them, as a person reads them before saying
	// yes.
	step := func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
	for _, file := range p.x.unread {
		switch file {
		case layout.ConsumersFile:
			step("forget the offsets that consumers committed, and keep what there is of them as %s.broken", file)
			continue
		case table.TagsFile:
			step("forget which versions tags named, and keep what there is of it as %s.broken", file)
			continue
		}
		step("write %s anew, and keep the damaged one as %s.broken", file, file)
	}
	switch {
	case p.version == nil && p.x.hasTable:
		step("give the table up, and keep it as %s.broken", table.Dir)
	case p.mend:
		step("keep version %d of the table without the files that are damaged", p.version.Number)
	case p.version != nil && p.version != p.x.state.Newest():
		step("go back to version %d of the table", p.version.Number)
		if newest := p.x.state.Newest(); newest != nil && removed(newest) > removed(p.version) {
			step("have %d rows back that were removed", removed(newest)-removed(p.version))
		}
	}
	if p.x.marksLost {
		step("keep what can be read of the rows that tasks consumed, and the damaged files of %s under other names", layout.MarksDir)
	}
	for _, name := range p.x.lostTags {
		step("forget the tag %q", name)
	}
	for _, name := range p.log.Broken {
		step("write what can be read of a segment of the log anew, and keep the damaged one as %s", p.x.relative(name))
	}
	if p.ringFault != nil {
		step("keep the damaged %s as %s.broken", layout.RingFile, layout.RingFile)
	}
	// What is lost at the end is one step, whatever it is lost by: the bucket is shorter after
	// that.
	ends := false
	for _, r := range p.lost {
		if r[1] < 0 || r[1] > p.log.End {
			ends = true
		} else {
			step("make the rows %d to %d null", r[0], r[1]-1)
		}
	}
	if ends {
		step("end the bucket at row %d", p.log.End)
	}
	step("move the %d rows of the log into the table", p.log.Rows)
	return steps
}

func removed(v *lance.Version) int64 { return v.NextRowID - v.Rows }

// apply changes identity, mark and table so that the bucket can be opened with
// its log salvaged. The lock is held. It can be begun again after a crash.
func (p *plan) apply() error {
	x := p.x
	for _, file := range x.unread {
		if err := statefile.KeepBroken(filepath.Join(x.dir, file)); err != nil {
			return err
		}
	}
	// First after what is damaged is aside: without an identity the log cannot be told from
	// another's.
	if slices.Contains(x.unread, layout.IdentityFile) {
		if x.id == [16]byte{} {
			if _, err := rand.Read(x.id[:]); err != nil {
				return fmt.Errorf("engine: make identity: %w", err)
			}
		}
		if err := layout.WriteIdentity(vfs.OS, filepath.Join(x.dir, layout.IdentityFile), x.id); err != nil {
			return err
		}
	}
	m, err := table.ReadMarker(vfs.OS, x.dir)
	if err != nil {
		return err
	}
	return errors.Join(p.applyTable(m), m.Close())
}

func (p *plan) applyTable(m *table.Marker) error {
	path, state := filepath.Join(p.x.dir, table.Dir), m.Mark()
	state.Consumed = state.Consumed && !slices.Contains(p.x.unread, layout.ConsumersFile)
	state.Tagged = state.Tagged && !slices.Contains(p.x.unread, table.TagsFile)
	switch {
	case p.version == nil && p.x.hasTable:
		if err := statefile.KeepBroken(path); err != nil {
			return err
		}
		state.Version, state.Manifest, state.Changing = 0, table.FileSum{}, false
	case p.version != nil && !p.mend && p.version.Number < state.Version:
		// The open sets aside what is newer, however sound it looks.
		state.Version, state.Manifest, state.Changing = p.version.Number, table.FileSum{}, true
	case p.mend:
		// Otherwise the next open would take the mended version for an unfinished one.
		state.Version, state.Manifest, state.Changing = p.version.Number, table.FileSum{}, false
		if err := m.Replace(state); err != nil {
			return err
		}
		if _, err := lance.Mend(path, p.version.Number); err != nil {
			return err
		}
	}
	// What is lost is no longer due, or the bucket would be refused for it for ever.
	state.Rows = min(state.Rows, p.log.End)
	return m.Replace(state)
}
