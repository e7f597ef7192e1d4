package trajectory

import (
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/batch"
	"github.com/persisting/persisting/engine/memory"
)

// The columns that each step has.
const (
	EpisodeColumn   = "episode"
	StepColumn      = "step"
	BootstrapColumn = "bootstrap"
	VersionColumn   = "version"
)

var placeFields = []arrow.Field{
	{Name: EpisodeColumn, Type: arrow.PrimitiveTypes.Uint32, Nullable: true},
	{Name: StepColumn, Type: arrow.PrimitiveTypes.Uint32, Nullable: true},
	{Name: BootstrapColumn, Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
}

// frame is the columns of steps: where one belongs, and what it brings.
type frame struct {
	whole *arrow.Schema // all of them, as the bucket has them
	given *arrow.Schema // without those that the store adds

	content []string // the columns that hold names of values
}

// frameOf returns the frame of the columns that a first batch gives.
func frameOf(given *arrow.Schema) (*frame, error) {
	fields := slices.Clone(placeFields)
	version := false
	for _, f := range given.Fields() {
		switch {
		case slices.ContainsFunc(placeFields, func(p arrow.Field) bool { return p.Name == f.Name }):
			return nil, &engine.SchemaError{Column: f.Name, Reason: "the store has a column of that name itself; give yours another"}
		case f.Name == VersionColumn:
			if f.Type.ID() != arrow.INT32 {
				return nil, &engine.SchemaError{Column: f.Name, Reason: fmt.Sprintf("is the version of the policy, an int32, not %s", f.Type)}
			}
			version = true
		}
		if err := checkType(f); err != nil {
			return nil, err
		}
		f.Nullable = true
		fields = append(fields, f)
	}
	if !version {
		return nil, &engine.SchemaError{Column: VersionColumn, Reason: "is missing"}
	}
	return frameFrom(arrow.NewSchema(fields, nil)), nil
}

// frameFrom returns the frame of a bucket that has columns.
func frameFrom(whole *arrow.Schema) *frame {
	given := arrow.NewSchema(whole.Fields()[len(placeFields):], nil)
	return &frame{whole: whole, given: given, content: contentColumns(given)}
}

// conform returns a batch with the columns of the frame, which the caller releases. Only a last observation may lack some.
func (f *frame) conform(rec arrow.Record, last bool) (arrow.Record, error) {
	for i, have := range rec.Schema().Fields() {
		at := f.given.FieldIndices(have.Name)
		if at == nil {
			return nil, &engine.SchemaError{Column: have.Name, Reason: fmt.Sprintf("the first step had no such column; there are %q", batch.UserColumns(f.given))}
		}
		if want := f.given.Field(at[0]); !batch.SameType(want, have) {
			return nil, &engine.SchemaError{Column: have.Name, Reason: fmt.Sprintf("is %s since the first step, not %s", want.Type, have.Type)}
		}
		if n := rec.Column(i).NullN(); n > 0 {
			return nil, &engine.SchemaError{Column: have.Name, Reason: fmt.Sprintf("%d of %d steps have no value", n, rec.NumRows())}
		}
	}
	if !last && int(rec.NumCols()) < f.given.NumFields() {
		for _, want := range f.given.Fields() {
			if !rec.Schema().HasField(want.Name) {
				return nil, &engine.SchemaError{Column: want.Name, Reason: "is missing; each step has the columns of the first one"}
			}
		}
	}
	return batch.Align(rec, f.given)
}

// place adds to a batch that conforms what says where its rows belong. The caller releases the result.
func (f *frame) place(rec arrow.Record, episode uint32, first int64, last bool) arrow.Record {
	n := int(rec.NumRows())
	episodes, steps := array.NewUint32Builder(memory.Allocator), array.NewUint32Builder(memory.Allocator)
	lasts := array.NewBooleanBuilder(memory.Allocator)
	defer episodes.Release()
	defer steps.Release()
	defer lasts.Release()
	episodes.Reserve(n)
	steps.Reserve(n)
	lasts.Reserve(n)
	for i := range n {
		episodes.UnsafeAppend(episode)
		steps.UnsafeAppend(uint32(first) + uint32(i))
		lasts.UnsafeAppend(last)
	}
	columns := []arrow.Array{episodes.NewArray(), steps.NewArray(), lasts.NewArray()}
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	return array.NewRecord(f.whole, append(slices.Clip(columns), rec.Columns()...), int64(n))
}

// columnsGiven returns of a batch of the bucket what was given.
func (f *frame) columnsGiven(rec arrow.Record) arrow.Record {
	return array.NewRecord(f.given, rec.Columns()[len(placeFields):], rec.NumRows())
}
