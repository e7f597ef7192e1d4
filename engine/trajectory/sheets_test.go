package trajectory

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"golang.org/x/sys/unix"
)

var numbered = arrow.NewSchema([]arrow.Field{
	{Name: "obs", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "version", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
}, nil)

const sheetRows = 16

// putter writes steps into a sheet as another language does.
type putter struct {
	sheet  *Sheet
	memory []byte
}

func openSheet(t *testing.T, s *Store) *putter {
	t.Helper()
	h, path, err := s.Sheet(numbered, sheetRows, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	return &putter{h, memory}
}

func (p *putter) word(at int) []byte { return p.memory[at : at+8] }

// put writes steps of an episode from one to another, whose values are their places and the version of which is 3.
func (p *putter) put(number uint32, first, from, to int64) {
	le := binary.LittleEndian
	le.PutUint64(p.word(64), uint64(number))
	le.PutUint64(p.word(72), uint64(first))
	cells := int(le.Uint64(p.word(56)))
	for step := from; step < to; step++ {
		at := int(step - first)
		le.PutUint64(p.memory[cells+8*at:], math.Float64bits(float64(step)))
		le.PutUint32(p.memory[cells+8*sheetRows+4*at:], 3)
	}
	le.PutUint64(p.word(80), uint64(to-first))
}

func (p *putter) send(t *testing.T) {
	t.Helper()
	if err := p.sheet.Send(); err != nil {
		t.Fatal(err)
	}
}

func wantSteps(t *testing.T, s *Store, want int64) {
	t.Helper()
	if got := s.Stats(); got.Steps != want || got.Rows != want {
		t.Fatalf("%d steps in %d rows, want %d", got.Steps, got.Rows, want)
	}
}

func TestSheetsAreSent(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	p := openSheet(t, s)
	p.put(number, 0, 0, 10)
	wantSteps(t, s, 0)
	p.send(t)
	wantSteps(t, s, 10)
	p.send(t) // of nothing
	p.put(number, 10, 10, 10+sheetRows)
	p.send(t)
	wantSteps(t, s, 10+sheetRows)
	p.put(number, 4, 4, 12) // all of which are there
	p.send(t)
	other, _ := begin(t, s, "b", 0)
	p.put(other, 1, 1, 2)
	refused(t, p.sheet.Send(), ErrConflict, "gap: the next one is 0")
	p.put(other, 0, 0, 1)
	p.send(t)
	wantSteps(t, s, 11+sheetRows)
	if err := p.sheet.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, p.sheet.Send(), engine.ErrClosed, "closed")
	if names, err := os.ReadDir(filepath.Join(dir, sheetsDir)); len(names) > 0 || err != nil {
		t.Error(names, err)
	}
}

// TestSheetsOfAProcessThatWasKilled copies the directory while the store is open, as a kill leaves it.
func TestSheetsOfAProcessThatWasKilled(t *testing.T) {
	dir, killed := t.TempDir(), filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	gone, _ := begin(t, s, "b", 0)
	p, q := openSheet(t, s), openSheet(t, s)
	p.put(number, 0, 0, 4)
	p.send(t)
	p.put(number, 4, 4, 9)
	q.put(gone, 0, 0, 7)
	second, _ := begin(t, s, "b", 1)
	if err := os.WriteFile(filepath.Join(dir, sheetsDir, "000009.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again := openStore(t, killed)
		wantSteps(t, again, 9) // those of b have been superseded
		if got, next := begin(t, again, "a", 0); got != number || next != 9 {
			t.Fatal(got, next)
		}
		if got, next := begin(t, again, "b", 1); got != second || next != 0 {
			t.Fatal(got, next)
		}
		if names, err := os.ReadDir(filepath.Join(killed, sheetsDir)); len(names) > 0 || err != nil {
			t.Error(names, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADamagedSheetIsTold(t *testing.T) {
	dir, killed := t.TempDir(), filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	p := openSheet(t, s)
	p.put(number, 0, 0, 4)
	binary.LittleEndian.PutUint64(p.word(80), 99)
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	p.put(number, 0, 0, 4)
	_, err := Open(killed, DefaultOptions())
	refused(t, err, engine.ErrCorrupt, "000000: ")
}

func TestSheetsAreLookedAt(t *testing.T) {
	s := openStore(t, t.TempDir())
	number, _ := begin(t, s, "a", 0)
	p := openSheet(t, s)
	p.put(number, 0, 0, 5)
	for s.Stats().Steps < 5 {
		time.Sleep(10 * time.Millisecond)
	}
	p.put(number, 0, 5, 8)
	p.send(t)
	wantSteps(t, s, 8)
	p.put(number, 8, 8, 9)
	p.send(t)
	wantSteps(t, s, 9)
}

func TestSheetsOfAStoreThatIsClosed(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	number, _ := begin(t, s, "a", 0)
	p, q := openSheet(t, s), openSheet(t, s)
	p.put(number, 0, 0, 5)
	q.put(number, 7, 7, 9) // no store can take it
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.sheet.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, p.sheet.Send(), engine.ErrClosed, "closed")
	_, _, err := s.Sheet(numbered, 1, 0)
	refused(t, err, engine.ErrClosed, "closed")
	s = openStore(t, dir)
	wantSteps(t, s, 5)
	for _, size := range [][2]int64{{0, 0}, {1, -1}} {
		_, _, err := s.Sheet(numbered, size[0], size[1])
		refused(t, err, ErrInvalid, "want 1 to 65536 and 0 to 1073741824")
	}
	other := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.FixedWidthTypes.Date32}}, nil)
	_, _, err = s.Sheet(other, 1, 0)
	column := new(engine.SchemaError)
	if !errors.As(err, &column) || column.Column != "x" {
		t.Error(err)
	}
}

// TestStepsAreTakenBesideTheirPutter has them stored while more of them come, and is told of an error by the send.
func TestStepsAreTakenBesideTheirPutter(t *testing.T) {
	s := openStore(t, t.TempDir())
	p := openSheet(t, s)
	next := int64(0)
	number, _ := begin(t, s, "a", 0)
	for range 50 {
		for at := range int64(sheetRows) {
			p.put(number, next, next+at, next+at+1)
			if at%4 == 2 {
				done(t, p.sheet.Ask())
			}
		}
		p.send(t)
		next += sheetRows
		wantSteps(t, s, next)
	}
	p.put(number, next, next, next+6)
	done(t, p.sheet.Ask())
	for deadline := time.Now().Add(10 * time.Second); s.Stats().Steps < next+6; {
		if time.Now().After(deadline) {
			t.Fatal(s.Stats().Steps)
		}
		time.Sleep(time.Millisecond)
	}
	begin(t, s, "a", 1)
	p.put(number, next, next+6, next+7)
	done(t, p.sheet.Ask())
	refused(t, p.sheet.Send(), ErrConflict, "superseded")
	done(t, p.sheet.Close())
	if err := p.sheet.Ask(); !errors.Is(err, engine.ErrClosed) {
		t.Error(err)
	}
}
