package mirror

// #include "gather.h"
import "C"

import (
	"fmt"
	"hash/crc32"
	"strings"
	"unsafe"
)

const (
	line         = 64 // bytes of memory that come together
	segmentBytes = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Field is a column whose values all have one size.
type Field struct {
	Name  string
	Width int64 // bytes of a value
}

// Column is values of a field, side by side.
type Column struct {
	Values []byte             // also of rows that are null, unless all are
	Null   func(row int) bool // nil where no row is
}

// Layout says where fields are in a row.
type Layout struct {
	fields []Field
	places []int64 // of each field, in a row
	size   int64   // bytes of a row that are used
	stride int64   // from a row to the next
	bits   uint    // a segment has 1 << bits rows
}

// NewLayout lays fields out: what is null comes first, and rows touch as few lines of memory as can be.
func NewLayout(fields []Field) Layout { return layoutOf(fields, segmentBytes) }

func layoutOf(fields []Field, segment int64) Layout {
	l := Layout{fields: fields, size: int64(len(fields)+63) / 64 * 8, stride: 8}
	for _, f := range fields {
		l.places = append(l.places, l.size)
		l.size += (f.Width + 7) &^ 7
	}
	for l.stride < l.size && l.stride < line {
		l.stride *= 2
	}
	if l.size > line {
		l.stride = (l.size + line - 1) &^ (line - 1)
	}
	for int64(2)<<l.bits*l.stride <= segment {
		l.bits++
	}
	return l
}

// Field returns the number of a field of that name; false for none.
func (l *Layout) Field(name string) (int, bool) {
	for i, f := range l.fields {
		if f.Name == name {
			return i, true
		}
	}
	return 0, false
}

// Names are those of the fields.
func (l *Layout) Names() []string {
	names := make([]string, len(l.fields))
	for i, f := range l.fields {
		names[i] = f.Name
	}
	return names
}

// sum is another number for another layout.
func (l *Layout) sum() uint64 {
	var text strings.Builder
	for i, f := range l.fields {
		fmt.Fprintf(&text, "%q %d %d;", f.Name, l.places[i], f.Width)
	}
	return uint64(l.stride)<<32 | uint64(crc32.Checksum([]byte(text.String()), castagnoli))
}

// pack writes count rows of a batch, from one on, to memory that has room for them and is zero.
func (l *Layout) pack(columns []Column, from, count int, into []byte) {
	for f, column := range columns {
		width := l.fields[f].Width
		if column.Null != nil {
			l.packNulls(f, column, from, count, into)
			continue
		}
		values := column.Values[int64(from)*width:]
		C.mirror_scatter((*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(values))), C.int64_t(count), C.int64_t(width),
			(*C.uint8_t)(unsafe.Pointer(&into[l.places[f]])), C.int64_t(l.stride))
	}
}

// packNulls is pack for a field that is null in some rows: these get a bit, and the value stays zero.
func (l *Layout) packNulls(f int, column Column, from, count int, into []byte) {
	width := l.fields[f].Width
	for i := range count {
		row := into[int64(i)*l.stride:]
		if column.Null(from + i) {
			row[f/8] |= 1 << (f % 8)
		} else {
			copy(row[l.places[f]:][:width], column.Values[int64(from+i)*width:])
		}
	}
}
