package main

import (
	"fmt"
	"slices"

	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/table"
)

// maxDimensions is more than a vector that is searched for has: a length that is none, such as one that was not set, is
// refused before it is read.
const maxDimensions = 1 << 20

var (
	bucketCount   = (*bucket.Bucket).Count
	bucketExplain = asked((*bucket.Bucket).Explain)
	bucketQuery   = asked((*bucket.Bucket).Query)

	viewCount   = (*table.View).Count
	viewExplain = asked((*table.View).Explain)
	viewQuery   = asked((*table.View).Query)
)

// asked reads the query that a method is asked, and copies the vector, which is C's.
func asked[H, T any](answer func(H, table.Query, []float64) (T, error)) func(H, []byte, []float64) (T, error) {
	return func(of H, query []byte, vector []float64) (none T, err error) {
		if len(vector) > maxDimensions {
			return none, fmt.Errorf("%w: dimensions %d, want 0 to %d", errArgument, len(vector), maxDimensions)
		}
		q, err := table.ParseQuery(query)
		if err != nil {
			return none, err
		}
		// The search goes on in a cursor after the call, in which the vector is no longer lent.
		return answer(of, q, slices.Clone(vector))
	}
}
