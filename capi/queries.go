package main

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/table"
)

// #include "shim.h"
import "C"

// maxDimensions is more than a vector that is searched for has.
const maxDimensions = 1 << 20

// asked is what answers queries.
type asked interface {
	Query(q table.Query, vector []float64) (*table.Cursor, error)
	Count(filter string) (int64, error)
	Explain(q table.Query, vector []float64) (string, error)
}

func query(of asked, query *C.char, vector *C.double, dimensions C.int64_t, out *C.persisting_cursor) error {
	q, v, err := importQuery(query, vector, dimensions)
	if err != nil {
		return err
	}
	c, err := of.Query(q, v)
	if err != nil {
		return err
	}
	*out = C.persisting_cursor(handles.add(kindCursor, c))
	return nil
}

func count(of asked, filter *C.char, out *C.int64_t) error {
	n, err := of.Count(C.GoString(filter))
	if err != nil {
		return err
	}
	*out = C.int64_t(n)
	return nil
}

func explain(of asked, query *C.char, vector *C.double, dimensions C.int64_t, out **C.char) error {
	q, v, err := importQuery(query, vector, dimensions)
	if err != nil {
		return err
	}
	text, err := of.Explain(q, v)
	if err != nil {
		return err
	}
	*out = C.CString(text)
	return nil
}

//export persistingBucketQueryGo
func persistingBucketQueryGo(id C.persisting_bucket, text *C.char, vector *C.double, dimensions C.int64_t, out *C.persisting_cursor, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return query(b, text, vector, dimensions, out)
	}, arg("query", text), arg("out_cursor", out))
}

//export persistingBucketCountGo
func persistingBucketCountGo(id C.persisting_bucket, filter *C.char, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error { return count(b, filter, out) }, arg("out_rows", out))
}

//export persistingBucketExplainGo
func persistingBucketExplainGo(id C.persisting_bucket, text *C.char, vector *C.double, dimensions C.int64_t, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onBucket(id, e, func(b *bucket.Bucket) error {
		return explain(b, text, vector, dimensions, out)
	}, arg("query", text), arg("out_text", out))
}

//export persistingViewQueryGo
func persistingViewQueryGo(id C.persisting_view, text *C.char, vector *C.double, dimensions C.int64_t, out *C.persisting_cursor, e *C.struct_persisting_error) C.persisting_status {
	return onView(id, e, func(v *table.View) error {
		return query(v, text, vector, dimensions, out)
	}, arg("query", text), arg("out_cursor", out))
}

//export persistingViewCountGo
func persistingViewCountGo(id C.persisting_view, filter *C.char, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onView(id, e, func(v *table.View) error { return count(v, filter, out) }, arg("out_rows", out))
}

//export persistingViewExplainGo
func persistingViewExplainGo(id C.persisting_view, text *C.char, vector *C.double, dimensions C.int64_t, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onView(id, e, func(v *table.View) error {
		return explain(v, text, vector, dimensions, out)
	}, arg("query", text), arg("out_text", out))
}

func importQuery(query *C.char, vector *C.double, dimensions C.int64_t) (q table.Query, v []float64, err error) {
	if dimensions < 0 || dimensions > maxDimensions {
		return q, nil, fmt.Errorf("%w: dimensions %d, want 0 to %d", errArgument, dimensions, maxDimensions)
	}
	if vector != nil {
		v = slices.Clone(unsafe.Slice((*float64)(unsafe.Pointer(vector)), int(dimensions)))
	}
	q, err = table.ParseQuery([]byte(C.GoString(query)))
	return q, v, err
}
