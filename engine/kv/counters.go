package kv

import (
	"sync/atomic"
)

// counters count since the opening.
type counters struct {
	hits, readBytes                                           atomic.Int64
	missedAbsent, missedLength, missedDamaged, missedFailed   atomic.Int64
	missedLate, expired, damaged                              atomic.Int64
	sets, setPresent, setFailed, setRefused, setFull, setShed atomic.Int64
	writtenBytes, movedBytes                                  atomic.Int64
	evicted, evictedBytes, deleted, writeErrors               atomic.Int64
}
