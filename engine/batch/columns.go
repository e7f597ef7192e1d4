package batch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/lance"
)

const (
	// ReservedPrefix begins the names of columns that are not the user's.
	ReservedPrefix = "_persisting_"

	// UntypedColumn holds JSON objects as text: keys that have no column, or are
	// null in theirs, and their values.
	UntypedColumn = ReservedPrefix + "untyped"
)

// CastCall is the call of the Python package that changes a column.
func CastCall(f arrow.Field) string { return fmt.Sprintf("cast_column(%q, %q)", f.Name, TypeName(f)) }

// CheckThere refuses the name of a column that the user does not have.
func CheckThere(schema *arrow.Schema, name string) error {
	users := UserColumns(schema)
	if slices.Contains(users, name) {
		return nil
	}
	return &engine.SchemaError{Column: name, Reason: fmt.Sprintf("there is no such column; there are %q", users)}
}

// CheckNew refuses a column that cannot be added.
func CheckNew(schema *arrow.Schema, f arrow.Field) error {
	if err := CheckName(schema, f.Name); err != nil {
		return err
	}
	if err := lance.CheckStorable(f); err != nil {
		return &engine.SchemaError{Column: f.Name, Reason: err.Error()}
	}
	return nil
}

// CheckName refuses the name of a column that cannot be added.
func CheckName(schema *arrow.Schema, name string) error {
	if strings.HasPrefix(name, ReservedPrefix) {
		return &engine.SchemaError{Column: name, Reason: fmt.Sprintf("names that begin with %q are reserved", ReservedPrefix)}
	}
	if schema != nil && schema.HasField(name) {
		return &engine.SchemaError{Column: name, Reason: fmt.Sprintf("is there already, as %s; drop_column(%q) or rename_column would allow it", TypeName(ColumnOf(schema, name)), name)}
	}
	return nil
}

// UserColumns names the columns that are the user's, in their order.
func UserColumns(schema *arrow.Schema) []string {
	names := []string{}
	if schema == nil {
		return names
	}
	for _, f := range schema.Fields() {
		if !strings.HasPrefix(f.Name, ReservedPrefix) {
			names = append(names, f.Name)
		}
	}
	return names
}

// NoColumn is the error for a batch without columns.
func NoColumn() error { return &engine.SchemaError{Reason: "a batch needs at least one column"} }

// ColumnOf is the column of schema with the given name, which it must have.
func ColumnOf(schema *arrow.Schema, name string) arrow.Field {
	return schema.Field(schema.FieldIndices(name)[0])
}
