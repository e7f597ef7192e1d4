package lance

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
)

// CheckStorable says, with ErrSchema, why a table cannot hold a column: the
// path of the field at fault and its type. A field that passes comes back from
// a table as it was put, metadata included.
func CheckStorable(f arrow.Field) error { return checkField(f, f.Name) }

func checkField(f arrow.Field, path string) error {
	// Any other name can be stored, escaped where Lance takes it for something else.
	if !utf8.ValidString(f.Name) {
		return fmt.Errorf("%w: column %q: the name %q is no UTF-8", ErrSchema, path, f.Name)
	}
	for i, key := range f.Metadata.Keys() {
		if key == originalKey || strings.HasPrefix(key, "lance") && !slices.Contains(encodingKeys, key) {
			return fmt.Errorf("%w: column %s: metadata key %q is reserved", ErrSchema, path, key)
		}
		if err := checkEncoding(key, f.Metadata.Values()[i]); err != nil {
			return fmt.Errorf("%w: column %s: %w", ErrSchema, path, err)
		}
	}
	if strings.HasPrefix(extension(f), "lance.") {
		return fmt.Errorf("%w: column %s: the extension type %q is reserved", ErrSchema, path, extension(f))
	}
	// A contradiction that arrow lets pass; no row could ever be written.
	if f.Type.ID() == arrow.NULL && !f.Nullable {
		return fmt.Errorf("%w: column %s: nulls that are not nullable", ErrSchema, path)
	}
	if IsJSON(f) && f.Type.ID() != arrow.STRING {
		return fmt.Errorf("%w: column %s: %s is held over utf8 only, not %s", ErrSchema, path, jsonExtension, f.Type)
	}
	return checkType(f.Type, path)
}

// encodingKeys are the keys of Lance's that a user may set.
var encodingKeys = []string{
	compressionKey,
	levelKey,
	structureKey,
	"lance-encoding:rle-threshold",
	"lance-encoding:bss",
	blobKey,
}

func checkType(t arrow.DataType, path string) error {
	refuse := func(why string) error {
		return fmt.Errorf("%w: column %s: %s cannot be stored%s", ErrSchema, path, t, why)
	}
	switch t := t.(type) {
	case *arrow.NullType, *arrow.BooleanType,
		*arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Int64Type,
		*arrow.Uint8Type, *arrow.Uint16Type, *arrow.Uint32Type, *arrow.Uint64Type,
		*arrow.Float16Type, *arrow.Float32Type, *arrow.Float64Type,
		*arrow.Decimal128Type, *arrow.Decimal256Type,
		*arrow.StringType, *arrow.LargeStringType, *arrow.BinaryType, *arrow.LargeBinaryType,
		*arrow.Date32Type, *arrow.Date64Type, *arrow.Time32Type, *arrow.Time64Type,
		*arrow.TimestampType, *arrow.DurationType:
		return nil
	case *arrow.FixedSizeBinaryType:
		if t.ByteWidth <= 0 {
			return refuse(" without bytes")
		}
		return nil
	case *arrow.ListType:
		return checkField(t.ElemField(), path+"[]")
	case *arrow.LargeListType:
		return checkField(t.ElemField(), path+"[]")
	case *arrow.FixedSizeListType:
		if t.Len() <= 0 {
			return refuse(" without items")
		}
		switch t.Elem().(type) {
		case arrow.FixedWidthDataType, *arrow.FixedSizeListType:
		default: // Lance takes structs, and then cannot read them
			return refuse("; use a list")
		}
		if !fitsChunk(t, nil) {
			return refuse(", its items are too many; use a list, or uint8")
		}
		return checkField(t.ElemField(), path+"[]")
	case *arrow.MapType:
		if t.KeysSorted {
			return refuse(" with sorted keys")
		}
		for _, f := range t.ElemField().Type.(*arrow.StructType).Fields() {
			if f.Metadata.Len() > 0 { // arrow/go loses it
				return refuse(" with metadata inside")
			}
			if err := checkField(f, path+"[]."+f.Name); err != nil {
				return err
			}
		}
		return nil
	case *arrow.StructType:
		if t.NumFields() == 0 {
			return refuse(" without fields")
		}
		for i, f := range t.Fields() {
			if slices.ContainsFunc(t.Fields()[:i], func(g arrow.Field) bool { return g.Name == f.Name }) {
				return refuse(fmt.Sprintf(" with two fields %q", f.Name))
			}
			if err := checkField(f, path+"."+f.Name); err != nil {
				return err
			}
		}
		return nil
	}
	return refuse("")
}
