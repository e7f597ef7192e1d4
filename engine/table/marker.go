package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/statefile"
	"github.com/persisting/persisting/vfs"
)

// slotBytes is what a disk writes as a whole.
const slotBytes = 512

// Mark is what is known for certain of a table, and of what lies beside it in the directory.
//
// The four flags of files and of the log look as if the directory said the same. They are there because it does not: a
// file that is lost is not in the directory, and a bucket that took its absence for a beginning would give consumers
// and tasks all rows once more, let a clean-up take what tags name, or end before rows that were acknowledged. So a flag
// is set before the first of what it tells of is there, and taken back before the last is removed: a crash in between
// leaves a flag without a file, which is refused, and never a file that nobody misses.
type Mark struct {
	Sequence uint64  `json:"sequence"` // of the writes of the mark
	Version  uint64  `json:"version"`  // the newest version that is on disk; 0: none
	Manifest FileSum `json:"manifest"` // of that version; zero: not known
	Rows     int64   `json:"rows"`     // that the bucket had when it came there
	Changing bool    `json:"changing"` // newer versions may be there that are not on disk as a whole
	Logging  bool    `json:"logging"`  // there is a segment of the log, with rows that the table may lack
	Consumed bool    `json:"consumed"` // there is a file of the offsets of consumers
	Tagged   bool    `json:"tagged"`   // there is a file of the versions that tags name
	Marked   bool    `json:"marked"`   // there is a journal of the rows that tasks consumed
}

// Unmade says that the first version of the table was being made: there is none.
func (s Mark) Unmade() bool { return s.Changing && s.Version == 0 }

// Marker is the file table.mark. Lance makes a version of the table visible
// before it is on disk, and after a power failure its files can have their right
// sizes and zeros for content. So each change of the table is announced here
// before it begins, and has happened only once the mark names its version:
// versions above are set aside when the bucket is opened.
//
// The file has two slots of 512 bytes. Each holds the CRC-32C of a line of JSON,
// in hexadecimal, and the line, padded with spaces. The sound slot with the
// larger sequence counts. An announcement is written to the first slot alone,
// all else to both, so that damage to one slot is harmless.
type Marker struct {
	fs   vfs.FS
	path string

	mu       sync.Mutex
	state    Mark     // as it is on disk
	file     vfs.File // nil until it is written to
	exists   bool
	running  int  // changes that have begun and not ended
	failures int  // changes that failed
	unsure   bool // one that failed may have happened all the same
}

// ReadMarker reads the marker in the directory of a store. One that comes with an error says nothing.
func ReadMarker(filesystem vfs.FS, dir string) (*Marker, error) {
	m := &Marker{fs: filesystem, path: filepath.Join(dir, MarkFile)}
	b, err := statefile.Whole(filesystem, m.path, 2*slotBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("engine: read mark of the table: %w", err)
	}
	// Both are written by most changes, so one that is damaged leaves the other. Where they differ,
	// an announcement or a crash came between, and the newer counts if it is sound.
	for i := range 2 {
		if s, ok := decodeSlot(b, i); ok && (!m.exists || s.Sequence > m.state.Sequence) {
			m.state, m.exists = s, true
		}
	}
	if !m.exists {
		return m, fmt.Errorf("%w: %s holds no sound mark", engine.ErrCorrupt, m.path)
	}
	return m, nil
}

func decodeSlot(b []byte, i int) (s Mark, ok bool) {
	if len(b) < (i+1)*slotBytes {
		return s, false
	}
	sum, line, ok := strings.Cut(strings.TrimRight(string(b[i*slotBytes:(i+1)*slotBytes]), " \n"), " ")
	if !ok || sum != statefile.Sum([]byte(line)) {
		return s, false
	}
	return s, json.Unmarshal([]byte(line), &s) == nil
}

func encodeSlot(s Mark) ([]byte, error) {
	// JSON, so that a person with a damaged bucket can read what it was. A write of 512 bytes at a
	// multiple of 512 is one sector, which a disk writes as a whole or not at all.
	line, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%-*s\n", slotBytes-1, statefile.Sum(line)+" "+string(line)), nil
}

// begin announces a change of the table. The ticket is for end.
func (m *Marker) begin() (ticket int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	// Into one slot: should a crash tear that write, the other slot has the state before it, in which nothing had begun.
	s.Changing = true
	if err := m.write(s, 1); err != nil {
		return 0, err
	}
	m.running++
	return m.failures, nil
}

// end says that a change has led to a version which is on disk, with all before,
// and has that manifest.
func (m *Marker) end(ticket int, version uint64, manifest FileSum, rows int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running--
	if ticket == m.failures { // whatever failed came before this version
		m.unsure = false
	}
	s := m.state
	// Two changes may end in another order than that of their versions. The later one brought the files of both to disk.
	if version > s.Version {
		s.Version, s.Manifest = version, manifest
	}
	s.Rows = max(s.Rows, rows)
	// Another may have made a version above this one and not synced it yet. Where a change failed,
	// nobody knows what it left, until a later one has ended.
	s.Changing = m.running > 0 || m.unsure
	return m.write(s, 2)
}

// fail says that a change has failed, and maybe not without a trace.
func (m *Marker) fail() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running--
	m.failures++
	m.unsure = true
}

// Settle says, when the store is opened, that version is the newest and on
// disk. The rows that were there stay due.
func (m *Marker) Settle(version uint64, rows int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	if version != s.Version {
		s.Version, s.Manifest = version, FileSum{}
	}
	s.Rows, s.Changing = max(s.Rows, rows), false
	return m.write(s, 2)
}

// Mark is the state on the disk.
func (m *Marker) Mark() Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// flag is one of the mark's, which says whether there is a file.
type flag struct {
	marker *Marker
	of     func(*Mark) *bool
}

// There implements statefile.Presence.
func (f flag) There() bool {
	s := f.marker.Mark()
	return *f.of(&s)
}

// Note implements statefile.Presence.
func (f flag) Note(there bool) error {
	return f.marker.update(func(s *Mark) { *f.of(s) = there })
}

// Consumed is the flag that there is a file of the offsets of consumers.
func (m *Marker) Consumed() statefile.Presence {
	return flag{m, func(s *Mark) *bool { return &s.Consumed }}
}

// Marked is the flag that there is a journal of the rows that tasks consumed.
func (m *Marker) Marked() statefile.Presence {
	return flag{m, func(s *Mark) *bool { return &s.Marked }}
}

// tagged is the flag that there is a file of the versions that tags name.
func (m *Marker) tagged() statefile.Presence {
	return flag{m, func(s *Mark) *bool { return &s.Tagged }}
}

// Tags is the register of the versions that tags name.
func (m *Marker) Tags() *statefile.Register {
	return statefile.NewRegister(m.fs, filepath.Join(filepath.Dir(m.path), TagsFile), "the versions that tags name", 1, m.tagged())
}

// Logging says whether there is a segment of the log.
func (m *Marker) Logging(yes bool) error {
	return m.update(func(s *Mark) { s.Logging = yes })
}

// update brings the state, as do leaves it, to the disk.
func (m *Marker) update(do func(*Mark)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	do(&s)
	return m.write(s, 2)
}

// Replace brings a mark, which keeps its sequence, to the disk as it is. It is for a repair.
func (m *Marker) Replace(s Mark) error {
	return m.update(func(now *Mark) {
		s.Sequence = now.Sequence
		*now = s
	})
}

// write brings s to the disk, in that many slots; m.mu is held.
func (m *Marker) write(s Mark, slots int) error {
	// An announcement while another is announced, and a flag that is set already, cost no write. Nor does a file that says
	// nothing: the mark of a new bucket is made with the first of which it tells.
	if s == m.state {
		return nil
	}
	s.Sequence++
	slot, err := encodeSlot(s)
	if err == nil && m.exists {
		err = m.replace(bytes.Repeat(slot, slots))
	} else if err == nil {
		err = statefile.WriteText(m.fs, m.path, bytes.Repeat(slot, 2))
	}
	if err != nil {
		return fmt.Errorf("engine: write mark of the table: %w", err)
	}
	m.state, m.exists = s, true
	return nil
}

func (m *Marker) replace(text []byte) error {
	if m.file == nil {
		f, err := m.fs.OpenWrite(m.path)
		if err != nil {
			return err
		}
		m.file = f
	}
	// In place, and one sync of data alone: to write a file beside it and rename it takes three
	// syncs, and a mark is written twice by each change of the table.
	if err := m.file.WriteAt([][]byte{text}, 0); err != nil {
		return err
	}
	return m.file.Datasync()
}

// Close lets go of the file.
func (m *Marker) Close() error {
	if m == nil || m.file == nil {
		return nil
	}
	return m.file.Close()
}
