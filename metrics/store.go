package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// StoreState is what a store of blocks knows of itself at one moment. All but the last group are counts since it was opened.
type StoreState struct {
	Hits         int64 `json:"hits"`
	Absent       int64 `json:"missed_absent"`  // loads of keys that are not there
	OtherLength  int64 `json:"missed_length"`  // loads into memory of another length
	Damaged      int64 `json:"missed_damaged"` // loads of blocks that are not sound
	Unread       int64 `json:"missed_failed"`  // loads that the disk failed
	Late         int64 `json:"missed_late"`    // loads that waited too long
	Sets         int64 `json:"sets"`
	Present      int64 `json:"not_stored_present"` // sets of bytes that were there
	Unwritten    int64 `json:"not_stored_failed"`  // sets that the disk failed
	Refused      int64 `json:"not_stored_refused"` // sets that the admission, or a length, forbids
	Full         int64 `json:"not_stored_full"`    // sets for which no segment could be emptied
	Shed         int64 `json:"not_stored_shed"`    // sets for which the backlog had no room
	ReadBytes    int64 `json:"read_bytes"`
	WrittenBytes int64 `json:"written_bytes"`
	MovedBytes   int64 `json:"moved_bytes"`
	Evicted      int64 `json:"evicted"`
	EvictedBytes int64 `json:"evicted_bytes"`
	Expired      int64 `json:"expired"`
	Deleted      int64 `json:"deleted"`
	WriteErrors  int64 `json:"write_errors"`

	Keys          int64 `json:"keys"`
	Bytes         int64 `json:"bytes"` // that blocks take
	DiskBytes     int64 `json:"disk_bytes"`
	CapacityBytes int64 `json:"capacity_bytes"`
	PinnedBytes   int64 `json:"pinned_bytes"`
	QueuedLoads   int64 `json:"queued_loads"`
	QueuedStores  int64 `json:"queued_stores"`
	BacklogBytes  int64 `json:"store_backlog_bytes"`
}

// Store times what one store of blocks does. On a nil *Store, that of a store whose metrics are off, all methods do nothing.
type Store struct {
	ended func() // takes it out of its set
	path  string
	state func() StoreState

	load, store prometheus.Observer
}

// Close ends the series of the store.
func (s *Store) Close() {
	if s != nil {
		s.ended()
	}
}

// LoadDone times a load of one block, however it ended.
func (s *Store) LoadDone(took time.Duration) {
	if s != nil {
		s.load.Observe(took.Seconds())
	}
}

// SetDone times a set of one block, however it ended.
func (s *Store) SetDone(took time.Duration) {
	if s != nil {
		s.store.Observe(took.Seconds())
	}
}

// StoreStatus is what the status page shows of a store.
type StoreStatus struct {
	Path string `json:"path"`
	StoreState
}

// Status reads the store for the status page.
func (s *Store) Status() StoreStatus { return StoreStatus{s.path, s.state()} }

func (s *Store) numbers() numbers {
	st := s.state()
	var n numbers
	// By their names, not in an order that the list of numbers would have to keep.
	for at, value := range map[number]int64{
		kvHits: st.Hits, kvAbsent: st.Absent, kvOtherLength: st.OtherLength, kvDamaged: st.Damaged, kvUnread: st.Unread, kvLate: st.Late,
		kvSets: st.Sets, kvPresent: st.Present, kvUnwritten: st.Unwritten, kvRefused: st.Refused, kvFull: st.Full, kvShed: st.Shed,
		kvReadBytes: st.ReadBytes, kvWrittenBytes: st.WrittenBytes, kvMovedBytes: st.MovedBytes,
		kvEvicted: st.Evicted, kvEvictedBytes: st.EvictedBytes, kvExpired: st.Expired, kvDeleted: st.Deleted, kvWriteErrors: st.WriteErrors,
		kvKeys: st.Keys, kvBytes: st.Bytes, kvDiskBytes: st.DiskBytes, kvCapacityBytes: st.CapacityBytes, kvPinnedBytes: st.PinnedBytes,
		kvQueuedLoads: st.QueuedLoads, kvQueuedStores: st.QueuedStores, kvBacklogBytes: st.BacklogBytes,
	} {
		n[at] = float64(value)
	}
	n.amplify()
	return n
}
