package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"

	"github.com/persisting/persisting/wal"
)

// maxConsumersBytes is more than consumers.json may have.
const maxConsumersBytes = 16 << 20

// consumers is the file consumers.json: for each consumer the offset that it
// committed. It is replaced as a whole.
type consumers struct {
	fs   wal.FS
	path string
	mark *mark // which says that the file is there

	mu      sync.Mutex
	offsets map[string]int64 // nil until it is read
}

// Commit notes that a consumer is done with the rows below offset, which is at most
// that after the last row. It is on disk when the call returns, and so are these
// rows: otherwise, after a power failure, others could come to offsets that the
// consumer would not look at again. A commit may go back.
func (b *Bucket) Commit(consumer string, offset int64) error {
	if err := b.writable(); err != nil {
		return err
	}
	if consumer == "" {
		return fmt.Errorf("%w: a consumer needs a name", ErrName)
	}
	if err := b.catchUp(false); err != nil {
		return err
	}
	if end := b.acknowledgedRows(); offset < 0 || offset > end {
		return fmt.Errorf("%w: offset %d, want 0 to %d", ErrNotFound, offset, end)
	}
	if err := b.settleBelow(offset); err != nil {
		return err
	}
	return b.consumers.commit(consumer, offset)
}

// settleBelow brings the rows below offset to the disk.
func (b *Bucket) settleBelow(offset int64) error {
	b.mu.Lock()
	settled := offset <= b.checkpoint
	b.mu.Unlock()
	switch {
	case settled:
		return nil
	case b.log != nil:
		return b.syncLog()
	}
	return b.flush(false)
}

// Consumers returns the offsets of all consumers.
func (b *Bucket) Consumers() (map[string]int64, error) {
	if b.closing.Load() {
		return nil, ErrClosed
	}
	c := &b.consumers
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(); err != nil {
		return nil, err
	}
	return maps.Clone(c.offsets), nil
}

func (c *consumers) commit(consumer string, offset int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(); err != nil {
		return err
	}
	if have, ok := c.offsets[consumer]; ok && have == offset {
		return nil
	}
	changed := maps.Clone(c.offsets)
	changed[consumer] = offset
	text, err := json.MarshalIndent(changed, "", "  ")
	if err == nil && len(text) > maxConsumersBytes {
		err = fmt.Errorf("consumers with %d bytes, more than %d", len(text), maxConsumersBytes)
	}
	if err == nil {
		err = createFile(c.fs, c.path, text)
	}
	if err == nil {
		err = c.mark.consumed()
	}
	if err != nil {
		c.offsets = nil // what is on disk now is read again
		return fmt.Errorf("engine: commit offset: %w", err)
	}
	c.offsets = changed
	return nil
}

// load reads the file, unless that was done. The caller holds c.mu.
func (c *consumers) load() error {
	if c.offsets != nil {
		return nil
	}
	text, err := readSmall(c.fs, c.path, maxConsumersBytes)
	if errors.Is(err, fs.ErrNotExist) && c.mark.has().Consumed {
		return fmt.Errorf("%w: %s is gone, with the offsets that consumers committed", ErrCorrupt, c.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		c.offsets = map[string]int64{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("engine: read offsets of consumers: %w", err)
	}
	err = json.Unmarshal(text, &c.offsets)
	if err == nil && c.offsets == nil {
		err = errors.New("it is null")
	}
	for consumer, offset := range c.offsets {
		if err == nil && offset < 0 {
			err = fmt.Errorf("%q is at %d", consumer, offset)
		}
	}
	if err != nil {
		c.offsets = nil
		return fmt.Errorf("%w: %s is not a JSON object of offsets: %w", ErrCorrupt, c.path, err)
	}
	return nil
}

func consumersIn(filesystem wal.FS, dir string) consumers {
	return consumers{fs: filesystem, path: filepath.Join(dir, consumersFile)}
}
