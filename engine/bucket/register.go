package bucket

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

// register is a small file with a number for each of some names. It is replaced as
// a whole, and table.mark says that it is there:
//
//	{"crc32c": "<of numbers without white space>", "numbers": {"<name>": <number>, ...}}
//
// One without a checksum, as consumers.json once was, is the numbers alone.
type register struct {
	fs    vfs.FS
	path  string
	holds string // what, for errors
	least int64  // number
	mark  *mark
	noted func(*markState) *bool // whether there is a file

	mu      sync.Mutex
	numbers map[string]int64 // nil until they are read
}

// sealed is the content of a register.
type sealed struct {
	CRC32C  string          `json:"crc32c"`
	Numbers json.RawMessage `json:"numbers"`
}

// all returns the numbers by name.
func (r *register) all() (map[string]int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return nil, err
	}
	return maps.Clone(r.numbers), nil
}

// change brings the numbers, as do leaves them, to the disk.
func (r *register) change(do func(numbers map[string]int64)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return err
	}
	changed := maps.Clone(r.numbers)
	do(changed)
	if maps.Equal(changed, r.numbers) {
		return nil
	}
	text, err := seal(changed)
	if err == nil && len(text) > maxRegisterBytes {
		err = fmt.Errorf("%d bytes, more than %d", len(text), maxRegisterBytes)
	}
	if err == nil {
		err = createFile(r.fs, r.path, text)
	}
	if err == nil {
		err = r.mark.update(func(s *markState) { *r.noted(s) = true })
	}
	if err != nil {
		r.numbers = nil // what is on disk now is read again
		return fmt.Errorf("engine: write %s: %w", filepath.Base(r.path), err)
	}
	r.numbers = changed
	return nil
}

// forget begins anew, and keeps a file that is damaged.
func (r *register) forget() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := keepBroken(r.path); err != nil {
		return err
	}
	r.numbers = nil
	return r.mark.update(func(s *markState) { *r.noted(s) = false })
}

// load reads the file, unless that was done. The caller holds r.mu.
func (r *register) load() error {
	if r.numbers != nil {
		return nil
	}
	text, err := readSmall(r.fs, r.path, maxRegisterBytes)
	if errors.Is(err, fs.ErrNotExist) {
		if state := r.mark.has(); *r.noted(&state) {
			return fmt.Errorf("%w: %s is gone, with %s", engine.ErrCorrupt, r.path, r.holds)
		}
		r.numbers = map[string]int64{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("engine: read %s: %w", r.holds, err)
	}
	numbers, err := unseal(text)
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

func seal(numbers map[string]int64) ([]byte, error) {
	text, err := json.Marshal(numbers)
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(sealed{lineSum(text), text}, "", "  ")
}

func unseal(text []byte) (numbers map[string]int64, err error) {
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
	if sum := lineSum(compact.Bytes()); sum != s.CRC32C {
		return nil, fmt.Errorf("its checksum is %q, want %q", s.CRC32C, sum)
	}
	numbers = map[string]int64{}
	return numbers, json.Unmarshal(s.Numbers, &numbers)
}

// registersIn returns the registers of the bucket in dir.
func registersIn(filesystem vfs.FS, dir string) (consumers, tagged *register) {
	consumers = &register{
		fs: filesystem, path: filepath.Join(dir, consumersFile), holds: "the offsets that consumers committed",
		noted: func(s *markState) *bool { return &s.Consumed },
	}
	tagged = &register{
		fs: filesystem, path: filepath.Join(dir, tagsFile), holds: "the versions that tags name", least: 1,
		noted: func(s *markState) *bool { return &s.Tagged },
	}
	return consumers, tagged
}
