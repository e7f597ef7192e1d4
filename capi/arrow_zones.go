package main

// #include "shim.h"
import "C"

import (
	"strings"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
)

// zones is what the importer of arrow v17 loses of a field, and of those inside it. It
// cuts a time zone at its colon: +05:30 would become +05. Of the items of a map it
// forgets whether they are nullable, and that they, or the keys, have metadata.
type zones struct {
	zone     string
	nullable bool
	metadata bool
	children []zones
}

// zonesOf reads the zones from a schema that is not imported yet.
func zonesOf(s *C.struct_ArrowSchema) zones {
	z := zones{nullable: s.flags&C.ARROW_FLAG_NULLABLE != 0, metadata: s.metadata != nil}
	if format := C.GoString(s.format); strings.HasPrefix(format, "ts") {
		_, z.zone, _ = strings.Cut(format, ":")
	}
	if s.children != nil {
		for _, child := range unsafe.Slice(s.children, s.n_children) {
			z.children = append(z.children, zonesOf(child))
		}
	}
	return z
}

// restore puts the zones back into the fields that were imported.
func restore(fields []arrow.Field, all []zones) []arrow.Field {
	out := make([]arrow.Field, len(fields))
	for i, f := range fields {
		f.Type = all[i].restore(f.Type)
		out[i] = f
	}
	return out
}

func (z zones) restore(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.TimestampType:
		return &arrow.TimestampType{Unit: t.Unit, TimeZone: z.zone}
	case *arrow.ListType:
		return arrow.ListOfField(restore([]arrow.Field{t.ElemField()}, z.children)[0])
	case *arrow.LargeListType:
		return arrow.LargeListOfField(restore([]arrow.Field{t.ElemField()}, z.children)[0])
	case *arrow.FixedSizeListType:
		return arrow.FixedSizeListOfField(t.Len(), restore([]arrow.Field{t.ElemField()}, z.children)[0])
	case *arrow.StructType:
		return arrow.StructOf(restore(t.Fields(), z.children)...)
	case *arrow.MapType:
		// A map is a list of structs of two: that is how C has its children.
		key, item := z.children[0].children[0], z.children[0].children[1]
		m := arrow.MapOfWithMetadata(key.restore(t.KeyType()), key.lost(), item.restore(t.ItemType()), item.lost())
		m.SetItemNullable(item.nullable)
		m.KeysSorted = t.KeysSorted
		return m
	}
	return t
}

// lost stands for metadata that were not imported: no bucket holds such maps.
func (z zones) lost() arrow.Metadata {
	if !z.metadata {
		return arrow.Metadata{}
	}
	return arrow.NewMetadata([]string{"lost"}, []string{""})
}
