package statefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/vfs"
)

// maxRegisterBytes is more than a register may have.
const maxRegisterBytes = 16 << 20

// Register is a small file with a number for each of some names, as a JSON object. It is
// replaced as a whole, and what belongs to it notes elsewhere that it is there.
//
// Up to version 0.4 it was text with a checksum inside, and before that the object alone.
// Both are read, and replaced at the next change.
type Register struct {
	fs    vfs.FS
	path  string
	holds string // what, for errors
	least int64  // number
	there Presence

	mu      sync.Mutex
	numbers map[string]int64 // nil until they are read
}

// Presence notes, in another file than the register's, that there is one: its loss is damage then.
type Presence interface {
	There() bool
	Note(there bool) error
}

// NewRegister is the register in a file, which may be missing. holds says what the numbers are, for errors; least is the
// least that one can be.
func NewRegister(filesystem vfs.FS, path, holds string, least int64, there Presence) *Register {
	return &Register{fs: filesystem, path: path, holds: holds, least: least, there: there}
}

// sealed is a register as text.
type sealed struct {
	CRC32C  string          `json:"crc32c"`
	Numbers json.RawMessage `json:"numbers"`
}

// All returns the numbers by name.
func (r *Register) All() (map[string]int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return nil, err
	}
	return maps.Clone(r.numbers), nil
}

// Change brings the numbers, as do leaves them, to the disk.
func (r *Register) Change(do func(numbers map[string]int64)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return err
	}
	changed := maps.Clone(r.numbers)
	do(changed)
	// Consumers commit the same offset again and again; a write takes three syncs.
	if maps.Equal(changed, r.numbers) {
		return nil
	}
	text, err := json.Marshal(changed)
	if err == nil && len(text) > maxRegisterBytes {
		err = fmt.Errorf("%d bytes, more than %d", len(text), maxRegisterBytes)
	}
	if err == nil {
		err = Write(r.fs, r.path, text)
	}
	if err == nil {
		// After the file: a note without one would be damage. A crash in between leaves a file that
		// nobody would miss, and the first change after that notes it.
		err = r.there.Note(true)
	}
	if err != nil {
		r.numbers = nil // what is on disk now is read again
		return fmt.Errorf("statefile: write %s: %w", filepath.Base(r.path), err)
	}
	r.numbers = changed
	return nil
}

// Forget begins anew, and keeps a file that is damaged.
func (r *Register) Forget() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Aside first: a crash after that leaves a note, and the salvage is asked for once more.
	if err := KeepBroken(r.path); err != nil {
		return err
	}
	r.numbers = nil
	return r.there.Note(false)
}

// load reads the file, unless that was done. The caller holds r.mu.
func (r *Register) load() error {
	if r.numbers != nil {
		return nil
	}
	content, isText, err := ReadOrText(r.fs, r.path, maxRegisterBytes)
	if errors.Is(err, fs.ErrNotExist) {
		// This is why the flag is kept elsewhere: consumers would begin anew, and nobody would
		// know.
		if r.there.There() {
			return fmt.Errorf("%w: %s is gone, with %s", engine.ErrCorrupt, r.path, r.holds)
		}
		r.numbers = map[string]int64{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("statefile: read %s: %w", r.holds, err)
	}
	numbers, err := decode(content, isText)
	for name, number := range numbers {
		if err == nil && number < r.least {
			err = fmt.Errorf("%q is at %d", name, number)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %s does not hold %s: %w", engine.ErrCorrupt, r.path, r.holds, err)
	}
	r.numbers = numbers
	return nil
}

func decode(content []byte, isText bool) (map[string]int64, error) {
	if isText {
		return unseal(content)
	}
	numbers := map[string]int64{}
	return numbers, json.Unmarshal(content, &numbers)
}

// unseal returns the numbers of a register that is text.
func unseal(text []byte) (numbers map[string]int64, err error) {
	// The oldest form. One with a checksum has a text among its values, and so is no object of
	// numbers.
	if err := json.Unmarshal(text, &numbers); err == nil && len(numbers) > 0 {
		return numbers, nil // without a checksum
	}
	var s sealed
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, s.Numbers); err != nil {
		return nil, errors.New("it has no numbers")
	}
	if sum := Sum(compact.Bytes()); sum != s.CRC32C {
		return nil, fmt.Errorf("its checksum is %q, want %q", s.CRC32C, sum)
	}
	numbers = map[string]int64{}
	return numbers, json.Unmarshal(s.Numbers, &numbers)
}
