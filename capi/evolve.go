package main

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/bucket"
)

var (
	bucketDeclare      = (*bucket.Bucket).Declare
	bucketDropColumn   = (*bucket.Bucket).DropColumn
	bucketFillColumn   = (*bucket.Bucket).FillColumn
	bucketRenameColumn = (*bucket.Bucket).RenameColumn
)

func bucketAddColumns(b *bucket.Bucket, columns *arrow.Schema) error {
	return b.AddColumns(columns.Fields())
}

func bucketComputeColumn(b *bucket.Bucket, column *arrow.Schema, expression string) error {
	f, err := oneField(column)
	if err != nil {
		return err
	}
	if f.Type.ID() == arrow.NULL {
		f.Type = nil
	}
	return b.ComputeColumn(f, expression)
}

func bucketCastColumn(b *bucket.Bucket, column *arrow.Schema) error {
	f, err := oneField(column)
	if err != nil {
		return err
	}
	return b.CastColumn(f)
}

func oneField(columns *arrow.Schema) (arrow.Field, error) {
	if columns.NumFields() != 1 {
		return arrow.Field{}, fmt.Errorf("%w: schema has %d fields, want 1", errArgument, columns.NumFields())
	}
	return columns.Field(0), nil
}
