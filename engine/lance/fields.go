package lance

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
)

const (
	// originalKey holds, in the metadata of a stored field that differs from
	// what was put, the original as an Arrow IPC schema of one field in base64.
	originalKey = "persisting:field"

	// blobKey asks for an encoding that gives the places of values instead of them.
	blobKey = "lance-encoding:blob"

	// packedKey asks for structs whose fields lie beside each other.
	packedKey = "packed"

	extensionKey  = "ARROW:extension:name"
	jsonExtension = "arrow.json"
)

// reserved are the names that Lance keeps for its own columns.
var reserved = []string{
	"_rowid", "_rowaddr", "_rowoffset", "_row_last_updated_at_version", "_row_created_at_version",
}

// escapeName makes a name that Lance takes, a different one for every name.
func escapeName(name string) string {
	switch {
	case name == "":
		return "%"
	case slices.Contains(reserved, name):
		return "%" + fmt.Sprintf("%02X", name[0]) + name[1:]
	}
	return escaper.Replace(name)
}

var escaper = strings.NewReplacer("%", "%25", ".", "%2E", "`", "%60")

// storedField is f as Lance gets it.
func storedField(f arrow.Field, c compressions) (arrow.Field, error) {
	s := compressField(storedForm(f), c.of(f.Name))
	if escapeName(f.Name) == f.Name && isPlain(f) {
		return s, nil
	}
	// Whole, and not what differs: what a later version translates in another way comes back as it
	// was put.
	original, err := encodeField(f)
	if err != nil {
		return arrow.Field{}, err
	}
	s.Metadata = withKey(s.Metadata, originalKey, original)
	return s, nil
}

// originalField is the inverse of storedField.
func originalField(s arrow.Field) (arrow.Field, error) {
	// What is noted is believed, and the rest not asked: two rules for one field could contradict
	// each other.
	if i := s.Metadata.FindKey(originalKey); i >= 0 {
		return decodeField(s.Metadata.Values()[i])
	}
	return uncompressField(s), nil
}

// isPlain says whether Lance keeps all of f and originalField needs no help.
func isPlain(f arrow.Field) bool {
	if namesCompression(f) || lanceMetadata(f).Len() < f.Metadata.Len() {
		return false
	}
	switch t := f.Type.(type) {
	case *arrow.FixedSizeListType:
		item := t.ElemField()
		return item.Name == "item" && item.Nullable && item.Metadata.Len() == 0 && isPlain(item)
	case *arrow.MapType:
		return false
	case *arrow.TimestampType:
		return !strings.Contains(t.TimeZone, ":") // arrow/go cuts it there
	case arrow.NestedType:
		return !slices.ContainsFunc(t.Fields(), func(c arrow.Field) bool { return !isPlain(c) })
	}
	return true
}

// storedForm is f with the name that Lance takes, which takes any inside a column.
func storedForm(f arrow.Field) arrow.Field {
	f.Name = escapeName(f.Name)
	return translateField(f)
}

// translateField leaves metadata out of f that Lance must not see, and gives
// fixed-size lists the child that Lance gives them.
func translateField(f arrow.Field) arrow.Field {
	f.Metadata = lanceMetadata(f)
	switch t := f.Type.(type) {
	case *arrow.ListType:
		f.Type = arrow.ListOfField(translateField(t.ElemField()))
	case *arrow.LargeListType:
		f.Type = arrow.LargeListOfField(translateField(t.ElemField()))
	case *arrow.FixedSizeListType:
		// Lance reads them back with this child, whatever they were written with.
		item := arrow.Field{Name: "item", Type: t.Elem(), Nullable: true}
		f.Type = arrow.FixedSizeListOfField(t.Len(), translateField(item))
	case *arrow.StructType:
		f.Type = arrow.StructOf(mapFields(t.Fields(), translateField)...)
	case *arrow.MapType:
		m := arrow.MapOf(translateField(t.KeyField()).Type, translateField(t.ItemField()).Type)
		m.SetItemNullable(t.ItemField().Nullable)
		f.Type = m
	}
	return f
}

// named is f with the names of stored, and of what is inside it: they are escaped
// there in tables of older versions.
func named(f, stored arrow.Field) arrow.Field {
	f.Name = stored.Name
	inner := func(i int) arrow.Field {
		return named(f.Type.(arrow.NestedType).Fields()[i], stored.Type.(arrow.NestedType).Fields()[i])
	}
	switch t := f.Type.(type) {
	case *arrow.ListType:
		f.Type = arrow.ListOfField(inner(0))
	case *arrow.LargeListType:
		f.Type = arrow.LargeListOfField(inner(0))
	case *arrow.StructType:
		fields := make([]arrow.Field, t.NumFields())
		for i := range fields {
			fields[i] = inner(i)
		}
		f.Type = arrow.StructOf(fields...)
	}
	return f
}

// lanceMetadata is the metadata of f without what Lance cannot hold, or would heed to
// the harm of the values: of blobs a scan gives the places, packed structs have no
// nulls, and a structure that was chosen by hand must suit all values to come, which
// one for text and bytes does.
func lanceMetadata(f arrow.Field) arrow.Metadata {
	plain := plainMetadata(f.Metadata)
	_, varying := f.Type.(arrow.BinaryDataType)
	return pick(plain, func(i int) bool {
		switch plain.Keys()[i] {
		case blobKey, packedKey:
			return false
		case structureKey:
			return varying
		case compressionKey:
			return varying || plain.Values()[i] != fsst
		}
		return true
	})
}

func encodeField(f arrow.Field) (string, error) {
	var b bytes.Buffer
	if err := ipc.NewWriter(&b, ipc.WithSchema(arrow.NewSchema([]arrow.Field{f}, nil))).Close(); err != nil {
		return "", fmt.Errorf("%w: column %q: %w", ErrSchema, f.Name, err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

func decodeField(text string) (arrow.Field, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return arrow.Field{}, fmt.Errorf("%w: field metadata %s: %w", ErrCorrupt, originalKey, err)
	}
	r, err := ipc.NewReader(bytes.NewReader(b))
	if err != nil {
		return arrow.Field{}, fmt.Errorf("%w: field metadata %s: %w", ErrCorrupt, originalKey, err)
	}
	defer r.Release()
	if r.Schema().NumFields() != 1 {
		return arrow.Field{}, fmt.Errorf("%w: field metadata %s: %d fields", ErrCorrupt, originalKey, r.Schema().NumFields())
	}
	return r.Schema().Field(0), nil
}

// columns relates the columns of a table, as its users see them, to those that
// Lance stores.
type columns struct {
	number   uint64 // of the schema, as info has it
	original *arrow.Schema
	stored   []arrow.Field  // their names and types, as far as appends need them
	index    map[string]int // by original name
}

func newColumns(stored *arrow.Schema, number uint64) (*columns, error) {
	n := stored.NumFields()
	c := &columns{number: number, stored: make([]arrow.Field, n), index: make(map[string]int, n)}
	originals := make([]arrow.Field, n)
	for i, s := range stored.Fields() {
		f, err := originalField(s)
		if err != nil {
			return nil, err
		}
		originals[i] = f
		// Made from the original once more, since what was stored has metadata that an append must
		// not repeat.
		c.stored[i] = named(translateField(f), s)
		c.index[f.Name] = i
	}
	meta, err := originalMetadata(stored.Metadata())
	if err != nil {
		return nil, err
	}
	c.original = arrow.NewSchema(originals, &meta)
	return c, nil
}

// project picks columns by original name: their schema, and their stored names.
// All columns, and nil for the names, when names is nil.
func (c *columns) project(names []string) (*arrow.Schema, []string, error) {
	if names == nil {
		return c.original, nil, nil
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("%w: an empty list of columns", ErrInvalid)
	}
	fields := make([]arrow.Field, len(names))
	stored := make([]string, len(names))
	for i, name := range names {
		j, ok := c.index[name]
		if !ok {
			return nil, nil, fmt.Errorf("%w: no column %q", ErrSchema, name)
		}
		// A result with a column twice is none that a dict or a data frame can be.
		if slices.Contains(names[:i], name) {
			return nil, nil, fmt.Errorf("%w: column %q is asked for twice", ErrInvalid, name)
		}
		fields[i], stored[i] = c.original.Field(j), c.stored[j].Name
	}
	meta := c.original.Metadata()
	return arrow.NewSchema(fields, &meta), stored, nil
}

// fit gives the stored fields for a batch's columns.
func (c *columns) fit(batch *arrow.Schema) (*arrow.Schema, error) {
	fields := make([]arrow.Field, batch.NumFields())
	seen := make(map[string]bool, len(fields))
	for i, f := range batch.Fields() {
		j, ok := c.index[f.Name]
		if !ok {
			return nil, fmt.Errorf("%w: no column %q", ErrSchema, f.Name)
		}
		if seen[f.Name] {
			return nil, fmt.Errorf("%w: column %q is there twice", ErrSchema, f.Name)
		}
		seen[f.Name] = true
		// By layout, as what a data frame says of nullability differs from batch to batch.
		if want := c.original.Field(j); !sameLayout(want, f) {
			return nil, fmt.Errorf("%w: column %q is %s, not %s", ErrSchema, f.Name, want.Type, f.Type)
		}
		fields[i] = c.stored[j]
	}
	return arrow.NewSchema(fields, nil), nil
}

func sameColumn(a, b arrow.Field) bool { return a.Name == b.Name && sameLayout(a, b) }

// sameLayout says whether arrays of b can be read as arrays of a: equal types
// but for nullability, metadata and the names of list items.
func sameLayout(a, b arrow.Field) bool {
	if IsJSON(a) != IsJSON(b) || a.Type.ID() != b.Type.ID() {
		return false
	}
	switch at := a.Type.(type) {
	case *arrow.ListType, *arrow.LargeListType:
		return sameLayout(a.Type.(arrow.ListLikeType).ElemField(), b.Type.(arrow.ListLikeType).ElemField())
	case *arrow.FixedSizeListType:
		bt := b.Type.(*arrow.FixedSizeListType)
		return at.Len() == bt.Len() && sameLayout(at.ElemField(), bt.ElemField())
	case *arrow.StructType:
		return slices.EqualFunc(at.Fields(), b.Type.(*arrow.StructType).Fields(), sameColumn)
	}
	return arrow.TypeEqual(a.Type, b.Type)
}

// IsJSON says whether the values of a column are JSON text.
func IsJSON(f arrow.Field) bool { return extension(f) == jsonExtension }

func extension(f arrow.Field) string {
	name, _ := f.Metadata.GetValue(extensionKey)
	return name
}
