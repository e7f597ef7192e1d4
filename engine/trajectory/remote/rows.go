package remote

import (
	"bytes"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/engine/wire"
)

// columns reads the columns of a message.
func columns(message []byte) (*arrow.Schema, error) {
	r, err := ipc.NewReader(bytes.NewReader(message))
	if err != nil {
		return nil, fmt.Errorf("%w: columns: %w", trajectory.ErrInvalid, err)
	}
	defer r.Release()
	return r.Schema(), nil
}

// record is the rows that a call brings, which the caller releases: each number of them is looked at before it is an index.
func (a *asked) record() (arrow.Record, error) {
	if len(a.bytes) < 4 || uint64(le.Uint32(a.bytes)) > uint64(len(a.bytes)-4) {
		return nil, fmt.Errorf("%w: %d bytes of rows", wire.ErrProtocol, len(a.bytes))
	}
	end := 4 + int(le.Uint32(a.bytes))
	schema, err := columns(a.bytes[4:end])
	if err != nil {
		return nil, err
	}
	m, err := batch.NewMessageSchema(schema)
	if err != nil {
		return nil, err
	}
	message := a.bytes[end:]
	if _, err := m.Check(message); err != nil {
		return nil, err
	}
	rows, _, err := m.Copy(message)
	return rows, err
}

// integers are the bytes of a call.
func (a *asked) integers() ([]int64, error) {
	words, err := a.words(1)
	return integers(words), err
}

func integers(words []uint64) []int64 {
	out := make([]int64, len(words))
	for i, w := range words {
		out[i] = int64(w)
	}
	return out
}

// bools answers with a byte for each.
func (a *answer) bools(found []bool) error {
	content := make([]byte, len(found))
	for i, yes := range found {
		if yes {
			content[i] = 1
		}
	}
	return a.content(content)
}

// floats answers with numbers.
func (a *answer) floats(found []float64) error {
	content := make([]byte, 0, 8*len(found))
	for _, x := range found {
		content = le.AppendUint64(content, math.Float64bits(x))
	}
	return a.content(content)
}

// content answers with bytes.
func (a *answer) content(b []byte) error {
	if err := a.value(struct{}{}); err != nil {
		return err
	}
	_, err := a.Write(b)
	return err
}
