package main

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/bucket"
)

func bucketDeclare(b *bucket.Bucket, columns *arrow.Schema) error {
	return b.Columns().Declare(columns)
}

func bucketDropColumn(b *bucket.Bucket, name string) error { return b.Columns().Drop(name) }

func bucketFillColumn(b *bucket.Bucket, row arrow.Record) error { return b.Columns().Fill(row) }

func bucketRenameColumn(b *bucket.Bucket, name, to string) error { return b.Columns().Rename(name, to) }

func bucketAddColumns(b *bucket.Bucket, columns *arrow.Schema) error {
	return b.Columns().Add(columns.Fields())
}

func bucketComputeColumn(b *bucket.Bucket, column *arrow.Schema, expression string) error {
	f, err := oneField(column)
	if err != nil {
		return err
	}
	// A field of C has a type, so null stands for the one that the expression has.
	if f.Type.ID() == arrow.NULL {
		f.Type = nil
	}
	return b.Columns().Compute(f, expression)
}

func bucketCastColumn(b *bucket.Bucket, column *arrow.Schema) error {
	f, err := oneField(column)
	if err != nil {
		return err
	}
	return b.Columns().Cast(f)
}

// oneField is the field of a schema that stands for a column: the Arrow interface has no struct for a field
// that is not a schema.
func oneField(columns *arrow.Schema) (arrow.Field, error) {
	if columns.NumFields() != 1 {
		return arrow.Field{}, fmt.Errorf("%w: schema has %d fields, want 1", errArgument, columns.NumFields())
	}
	return columns.Field(0), nil
}
