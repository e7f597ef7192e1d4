package main

import (
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/persisting/persisting/engine/content"
	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/trajectory"
)

var (
	trajectoriesClose    = (*trajectory.Store).Close
	trajectoriesDescribe = (*trajectory.Store).Describe
	trajectoriesFlush    = (*trajectory.Store).Flush
	trajectoriesSchema   = succeeds((*trajectory.Store).Schema)
	trajectoriesSheet    = (*trajectory.Store).Sheet
	trajectoriesStats    = succeeds((*trajectory.Store).Stats)
	trajectoriesTake     = (*trajectory.Store).Take

	trajectoriesPriorities = (*trajectory.Store).Priorities
	trajectoriesPrioritize = (*trajectory.Store).Prioritize

	trajectoriesAck     = (*trajectory.Store).Ack
	trajectoriesLease   = (*trajectory.Store).Lease
	trajectoriesPending = succeeds((*trajectory.Store).Pending)
	trajectoriesRestore = (*trajectory.Store).Restore
	trajectoriesTag     = (*trajectory.Store).Tag
	trajectoriesTags    = succeeds((*trajectory.Store).Tags)
	trajectoriesUntag   = (*trajectory.Store).Untag

	sheetAsk   = (*trajectory.Sheet).Ask
	sheetClose = (*trajectory.Sheet).Close
	sheetSend  = (*trajectory.Sheet).Send
)

func trajectoriesOpen(dir string, readOnly bool, options []byte) (*trajectory.Store, error) {
	o, err := trajectory.ParseOptions(options)
	if err != nil {
		return nil, err
	}
	o.ReadOnly = readOnly
	o.Metrics, o.Logger, o.Budget = buckets, messages.Logger("engine"), budget
	return trajectory.Open(dir, o)
}

// episodeNumber is the number of an episode as C has it.
func episodeNumber(number int64) (uint32, error) {
	if number < 0 || number > math.MaxUint32 {
		return 0, fmt.Errorf("%w: number is %d, want that of an episode", errArgument, number)
	}
	return uint32(number), nil
}

func trajectoriesBegin(s *trajectory.Store, episode []byte) (number, next int64, err error) {
	var identity trajectory.Identity
	if err := parseJSON("episode", episode, &identity); err != nil {
		return 0, 0, err
	}
	n, next, err := s.Begin(identity)
	return int64(n), next, err
}

func trajectoriesAppend(s *trajectory.Store, number, step int64, steps arrow.Record, final bool) (int64, error) {
	episode, err := episodeNumber(number)
	if err != nil {
		return 0, err
	}
	return s.Append(episode, step, steps, final)
}

func trajectoriesKeep(s *trajectory.Store, values arrow.Record, hashes []byte) error {
	if want := values.NumRows() * content.NameBytes; int64(len(hashes)) != want {
		return fmt.Errorf("%w: name_bytes is %d, want %d for %d values", errArgument, len(hashes), want, values.NumRows())
	}
	names, err := s.Keep(values)
	if err != nil {
		return err
	}
	for i, name := range names {
		copy(hashes[i*content.NameBytes:], name[:])
	}
	return nil
}

func trajectoriesKept(s *trajectory.Store, hashes []byte) (*table.Cursor, error) {
	names, err := content.ParseNames(hashes)
	if err != nil {
		return nil, err
	}
	return s.Kept(names)
}

func trajectoriesFinish(s *trajectory.Store, number int64, text []byte) error {
	episode, err := episodeNumber(number)
	if err != nil {
		return err
	}
	end, err := trajectory.ParseEnding(text)
	if err != nil {
		return err
	}
	return s.Finish(episode, end)
}

func trajectoriesCloseLost(s *trajectory.Store, idleMs int64) (int64, error) {
	if most := math.MaxInt64 / int64(time.Millisecond); idleMs < 0 || idleMs > most {
		return 0, fmt.Errorf("%w: idle_ms is %d, want 0 to %d", errArgument, idleMs, most)
	}
	closed, err := s.CloseLost(time.Duration(idleMs) * time.Millisecond)
	return int64(closed), err
}

func trajectoriesRemove(s *trajectory.Store, ids []byte) (int64, error) {
	var names []string
	if err := parseJSON("ids", ids, &names); err != nil {
		return 0, err
	}
	removed, err := s.Remove(names)
	return int64(removed), err
}

func trajectoriesRead(s *trajectory.Store, number int64) (*table.Cursor, error) {
	episode, err := episodeNumber(number)
	if err != nil {
		return nil, err
	}
	return s.Read(episode)
}

func trajectoriesSteps(s *trajectory.Store, query []byte) (*table.Cursor, error) {
	q, err := table.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	return s.Steps(q)
}

func trajectoriesEpisodes(s *trajectory.Store, query []byte) (*table.Cursor, error) {
	q, err := table.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	return s.Episodes(q)
}

// answers are bytes of a caller, each of which is to be 0 or 1, as a bool of Go is.
func answers(of []byte) []bool {
	return unsafe.Slice((*bool)(unsafe.Pointer(unsafe.SliceData(of))), len(of))
}

func trajectoriesAreSteps(s *trajectory.Store, offsets []int64, into []byte) error {
	s.AreSteps(offsets, answers(into))
	return nil
}

func trajectoriesAreEpisodes(s *trajectory.Store, offsets, numbers []int64, into []byte) error {
	return s.AreEpisodes(offsets, numbers, answers(into))
}
