package ring

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/persisting/persisting/engine/statefile"
)

// Saved is what a putter left behind.
type Saved struct {
	Preamble []byte
	Entries  []Entry
	Logged   bool
	// Whole says that nothing can be missing but by damage: the machine has not stopped since.
	Whole bool
}

// Stamp tells what a ring held at some time: it holds the same as long as its stamp is.
type Stamp struct {
	salt       uint32
	head, tail uint64
}

// peekTries is how often a ring may change while it is read: the engine frees space every 20 ms, and a read takes less than one.
const peekTries = 100

// Peek is Load for a ring that another process may be using, unless it has the stamp that it had before; then the second result
// is that stamp, and nothing else was read. Without a file the error matches fs.ErrNotExist. What is taken out of the ring
// meanwhile may be missing: it is in the log by then.
func Peek(path string, bucket [16]byte, before Stamp) (Saved, Stamp, error) {
	f, err := os.Open(path)
	if err != nil {
		return Saved{}, Stamp{}, fmt.Errorf("ring: %w", err)
	}
	defer f.Close()
	for try := 1; ; try++ {
		s, now, err := peek(f, bucket, before)
		// The tail once more: space that was freed meanwhile may have been written to while it was
		// read.
		after, failed := stampOf(f)
		// Only what is put meanwhile changes nothing of what was read.
		if err = errors.Join(err, failed); err == nil && after.tail == now.tail || try == peekTries {
			return s, now, err
		}
		time.Sleep(10 * time.Microsecond)
	}
}

func peek(f *os.File, bucket [16]byte, before Stamp) (Saved, Stamp, error) {
	now, err := stampOf(f)
	if err != nil || now == before {
		return Saved{}, now, err
	}
	memory, err := content(f)
	if err != nil {
		return Saved{}, now, fmt.Errorf("ring: %w", err)
	}
	if len(memory) >= entriesAt { // as it was when it was stamped: what is behind may be half written
		order.PutUint64(memory[headAt:], now.head)
		order.PutUint64(memory[tailAt:], now.tail)
	}
	s, err := parse(memory, f.Name(), bucket)
	return s, now, err
}

// stampOf reads the stamp of a ring twice, as the words are written while they are read; a file that is shorter has none.
func stampOf(f *os.File) (Stamp, error) {
	var last Stamp
	for try := 0; ; try++ {
		var b [tailAt + 8]byte
		if _, err := f.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
			return Stamp{}, fmt.Errorf("ring: %w", err)
		}
		now := Stamp{order.Uint32(b[56:]), order.Uint64(b[headAt:]), order.Uint64(b[tailAt:])}
		if try > 0 && now == last || try == peekTries {
			return now, nil
		}
		last = now
	}
}

// Load reads the ring of a process that has ended. An error that is [ErrDamaged] comes with the entries before the damage. A ring
// that is not Whole is never damaged: what the disk has of it ends somewhere.
func Load(path string, bucket [16]byte) (Saved, error) {
	f, err := os.Open(path)
	if err != nil {
		return Saved{}, fmt.Errorf("ring: %w", err)
	}
	defer f.Close()
	memory, err := content(f)
	if err != nil {
		return Saved{}, fmt.Errorf("ring: %w", err)
	}
	return parse(memory, path, bucket)
}

// parse is Load of the content of a file.
func parse(memory []byte, path string, bucket [16]byte) (Saved, error) {
	r := &Ring{memory: memory}
	if len(bytes.Trim(memory, "\x00")) == 0 || len(memory) < entriesAt {
		return Saved{}, nil // it was being made when the machine stopped
	}
	switch {
	case !bytes.Equal(memory[:8], magic[:]):
		return Saved{}, r.damaged("not the first bytes of a ring")
	case order.Uint32(memory[8:]) != formatVersion:
		return Saved{}, fmt.Errorf("ring: %s has version %d, this is version %d", path, order.Uint32(memory[8:]), formatVersion)
	case order.Uint32(memory[12:]) != crc32.ChecksumIEEE(memory[16:64]):
		return Saved{}, r.damaged("checksum of its header")
	case !bytes.Equal(memory[16:32], bucket[:]):
		return Saved{}, r.damaged("it belongs to the bucket %x", memory[16:32])
	}
	boot := statefile.BootID()
	s := Saved{
		Logged: order.Uint32(memory[60:])&flagLogged != 0,
		Whole:  boot != [16]byte{} && bytes.Equal(memory[32:48], boot[:]),
	}
	r.salt = order.Uint32(memory[56:])
	err := s.read(r)
	// The machine stopped, and the disk has some pages of the file and not others. What the sums
	// let pass is what there is.
	if !s.Whole && errors.Is(err, ErrDamaged) {
		err = nil
	}
	return s, err
}

func (s *Saved) read(r *Ring) error {
	// Another size is not another version, which the number before says: the file was cut, or is
	// longer than it ever was.
	if len(r.memory) != fileBytes || order.Uint64(r.memory[48:]) != Capacity {
		return r.damaged("%d bytes, want %d", len(r.memory), fileBytes)
	}
	if r.Empty() {
		return nil
	}
	length := order.Uint32(r.memory[preambleAt+4:])
	if length > MaxPreamble {
		return r.damaged("a preamble of %d bytes", length)
	}
	preamble := r.memory[preambleText:][:length]
	if crc32.Update(r.salt, crc32.IEEETable, preamble) != order.Uint32(r.memory[preambleAt:]) {
		return r.damaged("checksum of the preamble")
	}
	s.Preamble = preamble
	// From the oldest entry that may be needed. The engine frees space when the log has it, so some
	// of these may be in the log as well, and Following passes them over.
	r.next.Store(r.load(tailAt))
	for {
		e, err := r.take()
		if err != nil || e == nil {
			return err
		}
		s.Entries = append(s.Entries, *e)
	}
}

// content is that of a file, up to one byte more than a ring has.
func content(f *os.File) ([]byte, error) {
	memory := make([]byte, fileBytes+1)
	n, err := f.ReadAt(memory, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return memory[:n], nil
}

// Following returns the entries that go on at offset next. The error says that there are others, and should not be.
func (s *Saved) Following(next int64) (entries []Entry, err error) {
	for _, e := range s.Entries {
		switch {
		case e.First < next: // it is in the log
		case e.First == next:
			entries = append(entries, e)
			next += e.Rows
		case !s.Whole: // the log has lost what was not on the disk when the machine stopped
			return entries, nil
		default:
			return entries, fmt.Errorf("it goes on at offset %d, the log ends at %d", e.First, next)
		}
	}
	return entries, nil
}
