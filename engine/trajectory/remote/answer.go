package remote

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/wire"
)

// answer is what a call is answered with, which goes out in pieces as it comes.
type answer struct {
	send  func(pieces ...[]byte) error
	frame wire.Frame
	piece []byte
	sent  bool  // all of it
	lost  error // what went wrong with the connection
}

// Write adds bytes.
func (a *answer) Write(b []byte) (int, error) {
	if a.lost == nil && len(a.piece)+len(b) > pieceBytes {
		a.flush(statusMore)
	}
	if a.lost != nil {
		return 0, a.lost
	}
	a.piece = append(a.piece, b...)
	return len(b), nil
}

// flush sends what there is.
func (a *answer) flush(status uint8) {
	f := a.frame
	f.Status = status
	a.lost = a.send(f.Head(nil, len(a.piece)), a.piece)
	a.piece = a.piece[:0]
}

// end sends the last piece.
func (a *answer) end() error {
	if !a.sent {
		a.flush(statusLast)
	}
	return a.lost
}

// value begins the answer to a call with what becomes JSON; bytes may follow.
func (a *answer) value(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.Write(append(le.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

// done is the answer of what has no result.
func done(out *answer, err error) error {
	if err != nil {
		return err
	}
	return out.value(struct{}{})
}

// rows answers with the rows of a cursor, which it closes.
func (a *answer) rows(c *table.Cursor) (err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := a.value(struct{}{}); err != nil {
		return err
	}
	schema, _ := c.Schema()
	if schema == nil {
		schema = arrow.NewSchema(nil, nil)
	}
	w := ipc.NewWriter(a, ipc.WithSchema(schema))
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return w.Close()
		}
		if err == nil {
			err = w.Write(rec)
			rec.Release()
		}
		if err != nil {
			return errors.Join(err, w.Close())
		}
	}
}

// columns answers with columns, without rows.
func (a *answer) columns(schema *arrow.Schema) error {
	if err := a.value(struct{}{}); err != nil {
		return err
	}
	if schema == nil {
		schema = arrow.NewSchema(nil, nil)
	}
	return ipc.NewWriter(a, ipc.WithSchema(schema)).Close()
}
