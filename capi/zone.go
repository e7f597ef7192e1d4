package main

// #include "shim.h"
import "C"

import (
	"strings"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
)

// zones is the time zone of a field and of those inside it. The importer of
// arrow v17 cuts a zone at its colon: +05:30 would become +05.
type zones struct {
	zone     string
	children []zones
}

// zonesOf reads the zones from a schema that is not imported yet.
func zonesOf(s *C.struct_ArrowSchema) zones {
	var z zones
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
	}
	return t
}
