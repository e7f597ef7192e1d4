package bucket

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
	"github.com/persisting/persisting/engine/table"
)

// Query returns the rows that q asks for, of those that were acknowledged when it
// was called: what is not in the table is flushed before. vector is what a search
// without a text looks for. The error of one that must not wait is [ErrWouldBlock]
// where it would have to.
func (b *Bucket) Query(q table.Query, vector []float64) (*table.Cursor, error) {
	snapshot, unpin, err := b.queried(q.NoWait)
	if err != nil {
		return nil, err
	}
	if snapshot == nil {
		schema, _ := b.Schema()
		if schema == nil {
			schema = arrow.NewSchema(nil, nil)
		}
		return table.NewCursor(table.Parts{Schema: schema}), table.Fault(q.Validate())
	}
	return table.Answer(snapshot, unpin, q, vector)
}

// Count returns how many rows pass a filter; all do if it is empty.
func (b *Bucket) Count(filter string) (int64, error) {
	snapshot, unpin, err := b.queried(false)
	if err != nil || snapshot == nil {
		return 0, err
	}
	defer unpin()
	n, err := snapshot.Count(filter)
	return n, table.Fault(err)
}

// Explain returns the plan of a query as text.
func (b *Bucket) Explain(q table.Query, vector []float64) (string, error) {
	snapshot, unpin, err := b.queried(false)
	if err != nil {
		return "", err
	}
	if snapshot == nil {
		return "EmptyBucket\n", table.Fault(q.Validate())
	}
	defer unpin()
	plan, err := snapshot.Explain(q, vector)
	return plan, table.Fault(err)
}

// queried brings the acknowledged rows into the table and pins the version with
// them; nil when there are none.
func (b *Bucket) queried(noWait bool) (snapshot *lance.Snapshot, unpin func(), err error) {
	if err := b.ingest.catchUp(noWait); err != nil {
		return nil, nil, err
	}
	if f := b.ingest.follower; f != nil {
		snapshot, err := f.queried(noWait)
		if snapshot == nil {
			return nil, func() {}, err
		}
		return snapshot, snapshot.Release, nil
	}
	b.rows.mu.Lock()
	due := b.rows.checkpoint < b.rows.visible()
	b.rows.mu.Unlock()
	// A flush takes syncs, whatever is in memory of the table.
	if due && noWait {
		return nil, nil, engine.ErrWouldBlock
	}
	if due {
		if err := b.flusher.flush(false); err != nil {
			return nil, nil, err
		}
	}
	// Asked after the flush, which a close may have overtaken: the table has no version then, and
	// that would be an empty bucket.
	if b.closing.Load() {
		return nil, nil, engine.ErrClosed
	}
	if snapshot = b.table.Newest(); snapshot == nil {
		return nil, func() {}, nil
	}
	return snapshot, snapshot.Release, nil
}
