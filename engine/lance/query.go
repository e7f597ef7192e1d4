package lance

// #include "persisting_native.h"
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
)

// OffsetColumn is the name of the column of row ids in results and in filters.
const OffsetColumn = "_offset"

// maxK is the most rows that a search finds: they are held in memory.
const maxK = 1 << 20

// Query asks for rows. Columns go by the names they were put with; in a filter
// those that are no plain words stand in backticks.
type Query struct {
	// Filter is an SQL expression; rows for which it is true pass. All rows pass
	// when it is empty.
	Filter string `json:"filter,omitempty"`
	// Columns of the result; nil is all.
	Columns []string `json:"columns"`
	// WithOffset adds the column OffsetColumn with the row ids.
	WithOffset bool `json:"with_offset,omitempty"`
	// Limit is the number of rows at most; nil is no limit. Not with Search.
	Limit *int64 `json:"limit"`
	// Offset is the number of rows that are left out at the start.
	Offset int64 `json:"offset,omitempty"`
	// OrderBy orders the rows, nulls last and equals by row id. Without it they
	// come by row id.
	OrderBy []Order `json:"order_by,omitempty"`
	// Search asks for the best rows of those that pass, the best first.
	Search *Search `json:"search"`
	// WithoutIndex leaves the indexes alone.
	WithoutIndex bool `json:"without_index,omitempty"`
	// NoWait has the query fail with [ErrWouldBlock] unless indexes find a few rows,
	// and all that is looked at is in memory.
	NoWait bool `json:"no_wait,omitempty"`
}

// Order is a column to order by.
type Order struct {
	Column     string `json:"column"`
	Descending bool   `json:"descending,omitempty"`
}

// Search asks for the rows nearest to a vector, or for those that fit a text best.
type Search struct {
	Columns []string `json:"columns"`
	Text    *string  `json:"text"` // nil: the vector is searched for
	K       int64    `json:"k"`    // rows of the result at most
	// Metric is "l2", "cosine" or "dot". The default is that of the index, or l2.
	Metric string `json:"metric,omitempty"`
	// NProbes is the number of partitions of the index to look into.
	NProbes int64 `json:"nprobes,omitempty"`
	// Refine is how many times K rows are compared by their whole vectors.
	Refine int64 `json:"refine,omitempty"`
	// Ef is the number of candidates in an HNSW graph.
	Ef int64 `json:"ef,omitempty"`
}

// resultColumn returns the name of the column that a search adds, "" without one.
func (q *Query) resultColumn() string {
	switch {
	case q.Search == nil:
		return ""
	case q.Search.Text == nil:
		return "_distance"
	}
	return "_score"
}

// Validate reports what makes no sense whatever the table is.
func (q *Query) Validate() error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("%w: query: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case q.Limit != nil && *q.Limit < 0:
		return fault("limit %d is negative", *q.Limit)
	case q.Offset < 0:
		return fault("offset %d is negative", q.Offset)
	case q.Search == nil:
		return nil
	case q.Limit != nil || q.Offset > 0 || len(q.OrderBy) > 0:
		return fault("a search has neither limit nor offset nor order_by")
	case len(q.Search.Columns) == 0:
		return fault("a search needs a column")
	case q.Search.K < 1 || q.Search.K > maxK:
		return fault("k is %d, want 1 to %d", q.Search.K, maxK)
	}
	return nil
}

// Query runs a query. vector is what its Search looks for, nil for a text. The
// result has the columns asked for, then "_distance" or "_score" of a search, and
// then the row ids if asked for. A fault of the query is ErrInvalid or ErrSchema.
func (s *Snapshot) Query(q Query, vector []float64) (*Reader, error) {
	if err := s.hold(); err != nil {
		return nil, err
	}
	defer s.Release()
	schema, text, err := s.prepare(q)
	if err != nil {
		return nil, err
	}
	handle, err := native("query", func(out *readerHandle, e *owned) status {
		return C.pn_snapshot_query(s.handle, cText(text), cNumbers(vector), out, e)
	})
	if err != nil {
		return nil, s.named(err)
	}
	return &Reader{dir: s.dir, schema: schema, handle: handle}, nil
}

// Count returns how many rows pass a filter; all do if it is empty.
func (s *Snapshot) Count(filter string) (int64, error) {
	if err := s.hold(); err != nil {
		return 0, err
	}
	defer s.Release()
	// The manifest has this number; a scan that counts would read at least one column.
	if filter == "" {
		return s.Rows(), nil
	}
	_, text, err := s.prepare(Query{Filter: filter})
	if err != nil {
		return 0, err
	}
	n, err := native("count", func(out *C.int64_t, e *owned) status {
		return C.pn_snapshot_count(s.handle, cText(text), out, e)
	})
	return int64(n), s.named(err)
}

// Explain returns the plan of a query; it says which indexes are used.
func (s *Snapshot) Explain(q Query, vector []float64) (string, error) {
	if err := s.hold(); err != nil {
		return "", err
	}
	defer s.Release()
	_, text, err := s.prepare(q)
	if err != nil {
		return "", err
	}
	plan, err := nativeText("explain", func(out, e *owned) status {
		return C.pn_snapshot_explain(s.handle, cText(text), cNumbers(vector), out, e)
	})
	return plan, s.named(err)
}

// named adds the columns that there are to the error of a filter that names
// another.
func (s *Snapshot) named(err error) error {
	// DataFusion lists the names as they are stored, escaped, and those of its own columns among
	// them.
	if e := new(Error); errors.As(err, &e) && strings.Contains(e.Msg, "No field named") {
		var names []string
		for _, f := range s.Schema().Fields() {
			names = append(names, f.Name)
		}
		e.Msg = fmt.Sprintf("%s The columns are %q", e.Msg, names)
	}
	return in(s.dir, err)
}

// prepare gives the columns of the result, and the query in stored names.
func (s *Snapshot) prepare(q Query) (*arrow.Schema, string, error) {
	if err := q.Validate(); err != nil {
		return nil, "", err
	}
	c, err := s.columns()
	if err != nil {
		return nil, "", err
	}
	schema, err := c.result(&q)
	if err != nil {
		return nil, "", err
	}
	stored := func(names []string) []string {
		if err != nil || names == nil {
			return names
		}
		_, names, err = c.project(names)
		return names
	}
	if len(q.Columns) > 0 {
		q.Columns = stored(q.Columns)
	}
	// The query is the caller's, who may ask it of another version, which stores other names.
	q.OrderBy = slices.Clone(q.OrderBy)
	for i, o := range q.OrderBy {
		if names := stored([]string{o.Column}); err == nil {
			q.OrderBy[i].Column = names[0]
		}
	}
	if q.Search != nil {
		search := *q.Search
		search.Columns = stored(search.Columns)
		q.Search = &search
	}
	if err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(struct {
		Query
		Names map[string]string `json:"names"`
	}{q, c.filterNames()})
	if err != nil {
		return nil, "", fmt.Errorf("%w: write query: %w", ErrInternal, err)
	}
	return schema, string(text), nil
}

// result gives the columns of the result of a query.
func (c *columns) result(q *Query) (*arrow.Schema, error) {
	var fields []arrow.Field
	if q.Columns == nil || len(q.Columns) > 0 {
		schema, _, err := c.project(q.Columns)
		if err != nil {
			return nil, err
		}
		fields = slices.Clone(schema.Fields())
		// No column at all is right where a search or the offsets add some, and for these alone.
	} else if !q.WithOffset && q.Search == nil {
		return nil, fmt.Errorf("%w: query: an empty list of columns", ErrInvalid)
	}
	// Two columns of one name would be one in a dict and an error in a data frame.
	add := func(f arrow.Field) error {
		if slices.ContainsFunc(fields, func(have arrow.Field) bool { return have.Name == f.Name }) {
			return fmt.Errorf("%w: query: the result adds a column %q, and a column of the bucket has that name: leave it out of columns", ErrInvalid, f.Name)
		}
		fields = append(fields, f)
		return nil
	}
	if name := q.resultColumn(); name != "" {
		if err := add(arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float32, Nullable: true}); err != nil {
			return nil, err
		}
	}
	if q.WithOffset {
		if err := add(arrow.Field{Name: OffsetColumn, Type: arrow.PrimitiveTypes.Int64}); err != nil {
			return nil, err
		}
	}
	meta := c.original.Metadata()
	return arrow.NewSchema(fields, &meta), nil
}

// sql gives an expression, or a filter, in stored names.
func (c *columns) sql(text string) (string, error) {
	stored := c.filterNames()
	for _, f := range c.original.Fields() { // whose names are told from words of SQL
		if _, ok := stored[f.Name]; !ok {
			stored[f.Name] = f.Name
		}
	}
	names, err := json.Marshal(stored)
	if err != nil {
		return "", fmt.Errorf("%w: write names: %w", ErrInternal, err)
	}
	return nativeText("sql", func(out, e *owned) status {
		return C.pn_sql_stored(cText(text), cText(string(names)), out, e)
	})
}

// withinColumn begins the names of fields inside columns in [columns.filterNames]: no
// name has it.
const withinColumn = "\x00"

// filterNames gives the names, of columns and of fields inside them, that are
// stored under others, and the one of the row id.
func (c *columns) filterNames() map[string]string {
	names := map[string]string{OffsetColumn: "_rowid"}
	var visit func(prefix string, fields, stored []arrow.Field)
	visit = func(prefix string, fields, stored []arrow.Field) {
		for i, f := range fields {
			if f.Name != stored[i].Name || prefix+f.Name == OffsetColumn {
				names[prefix+f.Name] = stored[i].Name
			}
			if t, ok := f.Type.(arrow.NestedType); ok {
				// Fields inside columns are told apart from columns of the same name, which stand
				// in another place of a filter and may be stored otherwise.
				visit(withinColumn, t.Fields(), stored[i].Type.(arrow.NestedType).Fields())
			}
		}
	}
	visit("", c.original.Fields(), c.stored)
	return names
}
