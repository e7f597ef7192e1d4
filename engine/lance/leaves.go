package lance

import (
	"github.com/apache/arrow/go/v17/arrow"
)

// mapLeaves rebuilds f with every field that Lance compresses as one replaced.
func mapLeaves(f arrow.Field, replace func(arrow.Field) arrow.Field) arrow.Field {
	each := func(c arrow.Field) arrow.Field { return mapLeaves(c, replace) }
	switch t := f.Type.(type) {
	case *arrow.ListType:
		f.Type = arrow.ListOfField(each(t.ElemField()))
	case *arrow.LargeListType:
		f.Type = arrow.LargeListOfField(each(t.ElemField()))
	case *arrow.StructType:
		f.Type = arrow.StructOf(mapFields(t.Fields(), each)...)
	// Vectors too: Lance compresses their items together, by what the metadata of the vector says.
	default:
		return replace(f)
	}
	return f
}

func mapFields(fields []arrow.Field, f func(arrow.Field) arrow.Field) []arrow.Field {
	out := make([]arrow.Field, len(fields))
	for i, field := range fields {
		out[i] = f(field)
	}
	return out
}
