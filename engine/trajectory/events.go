package trajectory

import (
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/memory"
)

// events is what the bucket of episodes is made of.
var events = arrow.NewSchema([]arrow.Field{
	{Name: "number", Type: arrow.PrimitiveTypes.Uint32, Nullable: true},
	{Name: "episode_id", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "group_id", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "env", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "attempt", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "state", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "steps", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, // null while it is open
	{Name: "terminated", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	{Name: "truncated", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	{Name: "final_observation", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	{Name: "metadata", Type: arrow.BinaryTypes.String, Nullable: true}, // null for none
	{Name: "time", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
}, nil)

// eventsOf writes a row for each episode as it is. The caller releases it.
func eventsOf(now time.Time, all ...*episode) arrow.Record {
	b := array.NewRecordBuilder(memory.Allocator, events)
	defer b.Release()
	for _, e := range all {
		b.Field(0).(*array.Uint32Builder).Append(e.number)
		b.Field(1).(*array.StringBuilder).Append(e.ID)
		b.Field(2).(*array.StringBuilder).Append(e.Group)
		b.Field(3).(*array.StringBuilder).Append(e.Env)
		b.Field(4).(*array.Int32Builder).Append(e.Attempt)
		b.Field(5).(*array.StringBuilder).Append(e.state.String())
		if steps := b.Field(6).(*array.Int64Builder); e.state == open {
			steps.AppendNull()
		} else {
			steps.Append(e.Steps)
		}
		b.Field(7).(*array.BooleanBuilder).Append(e.Terminated)
		b.Field(8).(*array.BooleanBuilder).Append(e.Truncated)
		b.Field(9).(*array.BooleanBuilder).Append(e.last)
		if metadata := b.Field(10).(*array.StringBuilder); e.Metadata == "" {
			metadata.AppendNull()
		} else {
			metadata.Append(e.Metadata)
		}
		b.Field(11).(*array.TimestampBuilder).Append(arrow.Timestamp(now.UnixMicro()))
	}
	return b.NewRecord()
}

// text is a text of a batch in memory of its own, since that of the batch is given back.
func text(rec arrow.Record, column, i int) string {
	return strings.Clone(rec.Column(column).(*array.String).Value(i))
}

// eventAt reads the i-th row of a batch, whose columns are those of events.
func eventAt(rec arrow.Record, i int) (*episode, error) {
	e := &episode{
		number: rec.Column(0).(*array.Uint32).Value(i),
		Identity: Identity{
			ID:      text(rec, 1, i),
			Group:   text(rec, 2, i),
			Env:     text(rec, 3, i),
			Attempt: rec.Column(4).(*array.Int32).Value(i),
		},
		Ending: Ending{
			Steps:      rec.Column(6).(*array.Int64).Value(i),
			Terminated: rec.Column(7).(*array.Boolean).Value(i),
			Truncated:  rec.Column(8).(*array.Boolean).Value(i),
			Metadata:   text(rec, 10, i),
		},
		last: rec.Column(9).(*array.Boolean).Value(i),
	}
	name := rec.Column(5).(*array.String).Value(i)
	for s, known := range phases {
		if known == name {
			e.state = phase(s)
		}
	}
	if e.state == unknown {
		return nil, fmt.Errorf("%w: episode %d is in the state %q", engine.ErrCorrupt, e.number, name)
	}
	return e, nil
}
