package bucket

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// Query asks for rows of a bucket.
type Query = lance.Query

// ParseQuery reads a query from JSON; a member that it has not is a fault.
func ParseQuery(text []byte) (q Query, err error) { return q, parse(text, &q, "query") }

func parse(text []byte, into any, what string) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %s: %w", engine.ErrInvalid, what, err)
	}
	return nil
}

// Query returns the rows that q asks for, of those that were acknowledged when it
// was called: what is not in the table is flushed before. vector is what a search
// without a text looks for. The error of one that must not wait is [ErrWouldBlock]
// where it would have to.
func (b *Bucket) Query(q Query, vector []float64) (*Cursor, error) {
	snapshot, unpin, err := b.queried(q.NoWait)
	if err != nil {
		return nil, err
	}
	if snapshot == nil {
		schema, _ := b.Schema()
		if schema == nil {
			schema = arrow.NewSchema(nil, nil)
		}
		return &Cursor{schema: schema}, fault(q.Validate())
	}
	return answer(snapshot, unpin, q, vector)
}

// answer lets go of the snapshot at the end of the cursor.
func answer(snapshot *lance.Snapshot, unpin func(), q Query, vector []float64) (*Cursor, error) {
	reader, err := snapshot.Query(q, vector)
	if err != nil {
		unpin()
		return nil, fault(err)
	}
	return &Cursor{schema: reader.Schema(), reader: reader, unpin: unpin, fault: fault}, nil
}

// Count returns how many rows pass a filter; all do if it is empty.
func (b *Bucket) Count(filter string) (int64, error) {
	snapshot, unpin, err := b.queried(false)
	if err != nil || snapshot == nil {
		return 0, err
	}
	defer unpin()
	n, err := snapshot.Count(filter)
	return n, fault(err)
}

// Explain returns the plan of a query as text.
func (b *Bucket) Explain(q Query, vector []float64) (string, error) {
	snapshot, unpin, err := b.queried(false)
	if err != nil {
		return "", err
	}
	if snapshot == nil {
		return "EmptyBucket\n", fault(q.Validate())
	}
	defer unpin()
	plan, err := snapshot.Explain(q, vector)
	return plan, fault(err)
}

// queried brings the acknowledged rows into the table and pins the version with
// them; nil when there are none.
func (b *Bucket) queried(noWait bool) (snapshot *lance.Snapshot, unpin func(), err error) {
	if err := b.catchUp(noWait); err != nil {
		return nil, nil, err
	}
	b.mu.Lock()
	due := b.checkpoint < b.visible()
	b.mu.Unlock()
	if due && noWait {
		return nil, nil, engine.ErrWouldBlock
	}
	if due {
		if err := b.flush(false); err != nil {
			return nil, nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed || b.closing.Load():
		return nil, nil, engine.ErrClosed
	case b.snapshot == nil:
		return nil, func() {}, nil
	}
	b.snapshot.Retain()
	return b.snapshot, b.snapshot.Release, nil
}

// fault gives what is wrong with a query, or with an index that is asked for, the
// class that it has for callers.
func fault(err error) error {
	class := lance.ErrInvalid
	switch {
	case err == nil:
		return nil
	case errors.Is(err, lance.ErrWouldBlock):
		return engine.ErrWouldBlock
	case errors.Is(err, lance.ErrSchema):
		class = lance.ErrSchema
	case !errors.Is(err, lance.ErrInvalid):
		return fmt.Errorf("engine: query: %w", err)
	}
	return fmt.Errorf("%w: %s", engine.ErrInvalid, strings.TrimPrefix(reason(err), class.Error()+": "))
}

// reason is what Lance said, without what was being done.
func reason(err error) string {
	native := new(lance.Error)
	if !errors.As(err, &native) {
		return err.Error()
	}
	return strings.TrimPrefix(strings.TrimPrefix(native.Msg, "Invalid user input: "), "Schema error: ")
}
