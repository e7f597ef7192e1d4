package segment_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/persisting/persisting/vfs"
	"github.com/persisting/persisting/vfs/faultfs"
	"github.com/persisting/persisting/wal/segment"
)

const dirPath = "/store"

func directory(t testing.TB) (segment.Dir, *faultfs.Mem) {
	t.Helper()
	m := faultfs.NewMem()
	if err := m.MkdirAll(dirPath); err != nil {
		t.Fatal(err)
	}
	return segment.Dir{FS: m, Path: dirPath}, m
}

func header(sequence uint64, base int64) segment.Header {
	return segment.Header{Bucket: [16]byte{1}, Sequence: sequence, Base: base, Salt: 77, Capacity: 4096}
}

func create(t testing.TB, d segment.Dir, h segment.Header, m segment.Making) *segment.Segment {
	t.Helper()
	s, err := segment.Create(d, h, []byte("preamble"), m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// image returns the bytes of one-row entries, with the run that they are.
func image(s *segment.Segment, bodies ...string) ([]byte, segment.Run) {
	var b []byte
	run, first := s.Begin(), s.Next()
	for i, body := range bodies {
		from := len(b)
		b = append(segment.AppendHead(b), body...)
		b = segment.AppendPadding(b, int64(len(body)))
		run.Head(b[from:], first+int64(i), 1, int64(len(body)), segment.Checksum(0, b[from+segment.RecordBytes:]))
	}
	return b, run
}

func write(t testing.TB, s *segment.Segment, sync bool, bodies ...string) {
	t.Helper()
	b, run := image(s, bodies...)
	if err := s.Write([][]byte{b}, sync); err != nil {
		t.Fatal(err)
	}
	s.Extend(run, sync)
	s.Acknowledge()
}

// scan begins to read a segment; the header of the file must be sound.
func scan(t testing.TB, d segment.Dir, sequence uint64) *segment.Scan {
	t.Helper()
	name := d.Name(sequence)
	f, err := d.FS.Open(name.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	w := segment.Window{File: f, Size: size, Keep: true}
	h, sum, err := w.Header()
	if err != nil {
		t.Fatal(err)
	}
	return segment.NewScan(w, name, h, sum, 1<<20)
}

// rest reads entries up to where no more can be read, and returns why.
func rest(s *segment.Scan) (bodies []string, err error) {
	for {
		e, err := s.Next()
		if err != nil {
			return bodies, err
		}
		bodies = append(bodies, fmt.Sprintf("%d %s", e.First, e.Body))
	}
}

func expect(t testing.TB, s *segment.Scan, want ...string) {
	t.Helper()
	if got, err := rest(s); !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, want) {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

func spoil(t testing.TB, fs vfs.FS, path string, at int64) {
	t.Helper()
	f, err := fs.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.WriteAt([][]byte{{0x5a}}, at), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	d, _ := directory(t)
	s := create(t, d, header(1, 5), segment.Making{Zeros: true})
	write(t, s, false, "one", "two")
	write(t, s, true, "three")
	end, chain := s.Seal()
	if err := s.Finish(d.FS, segment.Sealed); err != nil {
		t.Fatal(err)
	}
	r := scan(t, d, 1)
	expect(t, r, "5 one", "6 two", "7 three")
	if !r.Sealed || r.Offset != 8 || r.Pos != end || r.Chain != chain || s.End() != end || string(r.Preamble) != "preamble" {
		t.Errorf("read to %d, %#x: %+v; Seal foretold %d, %#x", r.Pos, r.Chain, r, end, chain)
	}
}

// TestARunCountsOnceItIsExtended writes a run again, as is done when somebody changed its bytes meanwhile.
func TestARunCountsOnceItIsExtended(t *testing.T) {
	d, _ := directory(t)
	s := create(t, d, header(1, 0), segment.Making{})
	defer func() { _ = s.Drop() }()
	b, _ := image(s, "changed while it was written")
	if err := s.Write([][]byte{b}, false); err != nil {
		t.Fatal(err)
	}
	write(t, s, false, "as it is now, and of same length"[:len("changed while it was written")])
	expect(t, scan(t, d, 1), "0 as it is now, and of same le")
}

func TestRollbackKeepsWhatWasAcknowledged(t *testing.T) {
	d, _ := directory(t)
	s := create(t, d, header(1, 0), segment.Making{})
	defer func() { _ = s.Drop() }()
	write(t, s, false, "kept")
	b, run := image(s, "taken back")
	if err := s.Write([][]byte{b}, false); err != nil {
		t.Fatal(err)
	}
	s.Extend(run, false)
	s.Rollback()
	expect(t, scan(t, d, 1), "0 kept")
	if info, err := d.FS.Stat(s.Path()); err != nil || info.Size != 4096 {
		t.Errorf("the file has %d bytes: %v", info.Size, err)
	}
}

func TestSyncSaysWhetherThereWasAnything(t *testing.T) {
	d, m := directory(t)
	s := create(t, d, header(1, 0), segment.Making{})
	for _, want := range []bool{false, true, false} {
		if want {
			write(t, s, false, "on disk")
		}
		if got, err := s.Sync(); got != want || err != nil {
			t.Errorf("Sync says %v, %v, want %v", got, err, want)
		}
	}
	m.Crash(rand.New(rand.NewPCG(1, 1)))
	expect(t, scan(t, d, 1), "0 on disk")
}

// TestNoHalfOfASegmentGetsAName fails and crashes each operation of a Create that takes the place of an older file.
func TestNoHalfOfASegmentGetsAName(t *testing.T) {
	for _, crash := range []bool{false, true} {
		for n := int64(1); ; n++ {
			d, m := directory(t)
			if err := create(t, d, header(1, 0), segment.Making{}).Drop(); err != nil {
				t.Fatal(err)
			}
			nth := &faultfs.Nth{N: n, Sticky: crash, Err: faultfs.ErrCrashed}
			d.FS = &faultfs.Hook{FS: m, Before: nth.Before, Short: true}
			fill := func(s *segment.Segment) error {
				b, run := image(s, "new")
				err := s.Write([][]byte{b}, false)
				s.Extend(run, false)
				return err
			}
			s, err := segment.Create(d, header(1, 0), []byte("preamble"), segment.Making{Zeros: true, Fill: fill})
			if nth.Count() < n {
				if err := errors.Join(err, s.Drop()); err != nil {
					t.Fatal(err)
				}
				break
			}
			if err == nil {
				t.Fatalf("operation %d failed unnoticed", n)
			}
			if crash {
				m.Crash(rand.New(rand.NewPCG(uint64(n), 3)))
			}
			d.FS = m
			if got, err := rest(scan(t, d, 1)); !errors.Is(err, io.EOF) || len(got) > 1 {
				t.Fatalf("operation %d, crash %v: %q, %v", n, crash, got, err)
			}
		}
	}
}

func TestDamageHasAPlaceAndCanBeSkipped(t *testing.T) {
	d, m := directory(t)
	s := create(t, d, header(1, 0), segment.Making{})
	write(t, s, true, "before")
	at := s.End()
	write(t, s, true, "damaged")
	write(t, s, true, "after")
	if err := s.Drop(); err != nil {
		t.Fatal(err)
	}
	spoil(t, m, s.Path(), at+segment.RecordBytes)
	r := scan(t, d, 1)
	got, err := rest(r)
	var place *segment.Error
	if !errors.Is(err, segment.ErrCorrupt) || !errors.As(err, &place) || place.Offset != at || place.Segment != 1 || len(got) != 1 {
		t.Fatalf("read %q, %v", got, err)
	}
	if _, promised, err := r.Tail(); err != nil || promised <= at {
		t.Errorf("the record behind the damage promises %d, %v: a crash would explain it", promised, err)
	}
	if more, err := r.Seek(); !more || err != nil {
		t.Fatalf("nothing behind the damage: %v", err)
	}
	expect(t, r, "2 after")

	other := header(2, 0)
	other.Flags = segment.FlagSalvaged
	fill := func(made *segment.Segment) error { return made.Copy(r, r.Kept) }
	if err := create(t, d, other, segment.Making{Fill: fill}).Drop(); err != nil {
		t.Fatal(err)
	}
	copied := scan(t, d, 2)
	copied.Lost = true // as of every segment with that flag
	expect(t, copied, "0 before", "2 after")
}

func TestALostHeaderIsGuessed(t *testing.T) {
	d, m := directory(t)
	s := create(t, d, header(1, 40), segment.Making{})
	write(t, s, true, "one")
	if err := s.Drop(); err != nil {
		t.Fatal(err)
	}
	spoil(t, m, s.Path(), 70)
	f, err := m.Open(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := segment.Window{File: f, Size: 4096}
	if _, _, err := w.Header(); !errors.Is(err, segment.ErrCorrupt) {
		t.Errorf("the header is read with %v", err)
	}
	if salt, first, err := w.Guess(); salt != 77 || first != 40 || err != nil {
		t.Errorf("guessed salt %d, row %d, %v", salt, first, err)
	}
}

func TestList(t *testing.T) {
	for name, c := range map[string]struct {
		segments, unfinished int
		err                  error
	}{
		"00000000000000000007.wal":            {1, 0, nil},
		"00000000000000000007.wal.tmp":        {0, 1, nil},
		"00000000000000000007.wal.broken.tmp": {0, 1, nil},
		"00000000000000000007.wal.broken":     {0, 0, nil},
		"notes.txt":                           {0, 0, nil},
		"7.wal":                               {0, 0, segment.ErrForeign},
		"99999999999999999999.wal":            {0, 0, segment.ErrForeign},
	} {
		d, m := directory(t)
		if f, err := m.Create(dirPath + "/" + name); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
		segments, unfinished, err := d.List()
		if len(segments) != c.segments || len(unfinished) != c.unfinished || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v, %v", name, segments, unfinished, err)
		}
		if len(segments) == 1 && segments[0] != d.Name(7) {
			t.Errorf("%s: %v, want %v", name, segments[0], d.Name(7))
		}
	}
	d, _ := directory(t)
	d.Path = "/nowhere"
	if segments, unfinished, err := d.List(); segments != nil || unfinished != nil || err != nil {
		t.Errorf("nowhere: %v, %v, %v", segments, unfinished, err)
	}
}
