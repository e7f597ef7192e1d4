package lance

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// chunkBytes is less than which two words of values take where Lance writes them in
// chunks. It does so with all vectors of bools, and cannot write wider ones.
const chunkBytes = 8<<10 - 6

// fitsChunk says whether Lance can write vectors of type t: any but wide ones of
// bools. Vectors, if not nil, are their values: where an item is null, the bits that
// say so are written along.
func fitsChunk(t arrow.DataType, vectors arrow.Array) bool {
	bits, validity := int64(1), int64(0)
	for {
		list, ok := t.(*arrow.FixedSizeListType)
		if !ok {
			break
		}
		// Vectors of vectors lie as one wide vector.
		bits *= int64(list.Len())
		t = list.Elem()
		if vectors != nil {
			vectors = itemsOf(vectors.(*array.FixedSizeList))
			defer vectors.Release()
			if len(vectors.NullBitmapBytes()) > 0 && vectors.NullN() > 0 {
				validity += (bits + 7) / 8
			}
		}
	}
	if t.ID() != arrow.BOOL {
		return true
	}
	// Whole bytes are written as such, others bit by bit in words of eight values.
	if bits%8 == 0 {
		return 2*(bits/8+validity) < chunkBytes
	}
	return 2*(bits+8*validity) < chunkBytes // a word is eight values
}

// itemsOf gives the items of lists, for the caller to release.
func itemsOf(lists array.ListLike) arrow.Array {
	if lists.Len() == 0 {
		return array.NewSlice(lists.ListValues(), 0, 0)
	}
	first, _ := lists.ValueOffsets(0)
	_, end := lists.ValueOffsets(lists.Len() - 1)
	return array.NewSlice(lists.ListValues(), first, end)
}
