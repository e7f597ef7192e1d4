package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

// Query asks for rows of a table.
type Query = lance.Query

// ParseQuery reads a query from JSON; a member that it has not is a fault.
func ParseQuery(text []byte) (q Query, err error) { return q, parse(text, &q, "query") }

func parse(text []byte, into any, what string) error {
	d := json.NewDecoder(bytes.NewReader(text))
	// A member that is misspelled would else be a query for something else.
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %s: %w", engine.ErrInvalid, what, err)
	}
	return nil
}

// Answer is the rows of a version that q asks for; vector is what a search without a text looks for. The version is let
// go of, by unpin, at the end of the cursor.
func Answer(snapshot *lance.Snapshot, unpin func(), q Query, vector []float64) (*Cursor, error) {
	reader, err := snapshot.Query(q, vector)
	if err != nil {
		unpin()
		return nil, Fault(err)
	}
	c := NewCursor(Parts{Schema: reader.Schema(), Reader: reader, Unpin: unpin})
	c.fault = Fault
	return c, nil
}

// Fault gives what is wrong with a query, or with an index that is asked for, the
// class that it has for callers.
func Fault(err error) error {
	class := lance.ErrInvalid
	switch {
	case err == nil:
		return nil
	case errors.Is(err, lance.ErrWouldBlock):
		return engine.ErrWouldBlock
	case errors.Is(err, lance.ErrSchema):
		class = lance.ErrSchema
	// What is not the query's fault keeps its class: a disk that fails must not look like a wrong
	// filter.
	case !errors.Is(err, lance.ErrInvalid):
		return fmt.Errorf("engine: query: %w", err)
	}
	return fmt.Errorf("%w: %s", engine.ErrInvalid, strings.TrimPrefix(Reason(err), class.Error()+": "))
}

// Reason is what Lance said, without what was being done.
func Reason(err error) string {
	native := new(lance.Error)
	if !errors.As(err, &native) {
		return err.Error()
	}
	return strings.TrimPrefix(strings.TrimPrefix(native.Msg, "Invalid user input: "), "Schema error: ")
}
