package bucket

import "github.com/persisting/persisting/engine"

// Flush moves the acknowledged rows into Lance and syncs them to disk there.
func (b *Bucket) Flush() error {
	if b.closing.Load() {
		return engine.ErrClosed
	}
	if err := b.ingest.catchUp(false); err != nil {
		return err
	}
	return b.flusher.flush(true)
}

// Sync returns when what was acknowledged survives a failure of the power.
func (b *Bucket) Sync() error {
	if b.closing.Load() {
		return engine.ErrClosed
	}
	if err := b.ingest.catchUp(false); err != nil {
		return err
	}
	if b.log == nil {
		return b.flusher.flush(true)
	}
	if err := b.log.Sync(background); err != nil {
		return b.writeError(err)
	}
	return nil
}

// Compact removes the rows that retention does not keep, merges small fragments of
// the table, gives back the space of removed rows and columns, lets the indexes take
// in the rows that they lack, and removes the versions and files that nothing needs
// any more. Appends, flushes and reads go on.
func (b *Bucket) Compact() error {
	if err := b.upkeep.retain(true); err != nil {
		return err
	}
	b.table.Reshaping.Lock()
	defer b.table.Reshaping.Unlock()
	return b.upkeep.compactNow(true)
}
