package ring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
)

// Saved is what a putter left behind.
type Saved struct {
	Preamble []byte
	Entries  []Entry
	Logged   bool
	// Whole says that nothing can be missing but by damage: the machine has not stopped since.
	Whole bool
}

// Load reads the ring of a process that has ended. An error that is [ErrDamaged] comes with the entries before the damage. A ring
// that is not Whole is never damaged: what the disk has of it ends somewhere.
func Load(path string, bucket [16]byte) (Saved, error) {
	memory, err := read(path)
	if err != nil {
		return Saved{}, fmt.Errorf("ring: %w", err)
	}
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
	boot := bootID()
	s := Saved{
		Logged: order.Uint32(memory[60:])&flagLogged != 0,
		Whole:  boot != [16]byte{} && bytes.Equal(memory[32:48], boot[:]),
	}
	r.salt = order.Uint32(memory[56:])
	err = s.read(r)
	if !s.Whole && errors.Is(err, ErrDamaged) {
		err = nil
	}
	return s, err
}

func (s *Saved) read(r *Ring) error {
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
	r.next.Store(r.load(tailAt))
	for {
		e, err := r.take()
		if err != nil || e == nil {
			return err
		}
		s.Entries = append(s.Entries, *e)
	}
}

// read returns the content of a file, up to one byte more than a ring has.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	memory := make([]byte, fileBytes+1)
	n, err := io.ReadFull(f, memory)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return memory[:n], nil
}

// bootID is a number that is another one after the machine was started again; zeros where there is none.
func bootID() (id [16]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(b) != len(id) {
		return [16]byte{}
	}
	return [16]byte(b)
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
