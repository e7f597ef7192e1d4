package main

// #include "shim.h"
import "C"

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine/table"
	"github.com/persisting/persisting/engine/trajectory"
)

//export persistingTrajectoriesOpenGo
func persistingTrajectoriesOpenGo(path *C.char, flags C.uint32_t, options *C.char, out *C.persisting_trajectories, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("path", path), arg("trajectory_options", options), arg("out_trajectories", out)); err != nil {
			return err
		}
		if err := checkFlags(flags, C.PERSISTING_OPEN_READ_ONLY); err != nil {
			return err
		}
		dir := C.GoString(path)
		if dir == "" {
			return fmt.Errorf("%w: path is empty", errArgument)
		}
		o, err := trajectory.ParseOptions([]byte(C.GoString(options)))
		if err != nil {
			return err
		}
		o.ReadOnly = flags&C.PERSISTING_OPEN_READ_ONLY != 0
		o.Metrics, o.Logger, o.Budget = buckets, messages.Logger("engine"), budget
		s, err := trajectory.Open(dir, o)
		if err != nil {
			return err
		}
		*out = C.persisting_trajectories(handles.add(kindTrajectories, s))
		return nil
	})
}

func onTrajectories(id C.persisting_trajectories, e *C.struct_persisting_error, half func(*trajectory.Store) error, arguments ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(arguments...); err != nil {
			return err
		}
		return with(kindTrajectories, uint64(id), half)
	})
}

// strictly reads a JSON object whose names are all known.
func strictly(name, text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %s: %w", errArgument, name, err)
	}
	return nil
}

// episodeNumber is the number of an episode as C has it.
func episodeNumber(number C.int64_t) (uint32, error) {
	if number < 0 || number > math.MaxUint32 {
		return 0, fmt.Errorf("%w: number is %d, want that of an episode", errArgument, number)
	}
	return uint32(number), nil
}

//export persistingTrajectoriesBeginGo
func persistingTrajectoriesBeginGo(id C.persisting_trajectories, episode *C.char, outNumber, outNext *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		var identity trajectory.Identity
		if err := strictly("episode", C.GoString(episode), &identity); err != nil {
			return err
		}
		number, next, err := s.Begin(identity)
		if err != nil {
			return err
		}
		*outNumber, *outNext = C.int64_t(number), C.int64_t(next)
		return nil
	}, arg("episode", episode), arg("out_number", outNumber), arg("out_next", outNext))
}

//export persistingTrajectoriesAppendGo
func persistingTrajectoriesAppendGo(id C.persisting_trajectories, number, step C.int64_t, a *C.struct_ArrowArray, schema *C.struct_ArrowSchema, flags C.uint32_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	defer C.shim_release_array(a)
	defer C.shim_release_schema(schema)
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		if err := checkFlags(flags, C.PERSISTING_FINAL); err != nil {
			return err
		}
		episode, err := episodeNumber(number)
		if err != nil {
			return err
		}
		rec, err := importBatch(a, schema)
		if err != nil {
			return err
		}
		defer rec.Release()
		stored, err := s.Append(episode, int64(step), rec, flags&C.PERSISTING_FINAL != 0)
		if err != nil {
			return err
		}
		*out = C.int64_t(stored)
		return nil
	}, arg("array", a), arg("schema", schema), arg("out_stored", out))
}

// ending is how an episode ends, as JSON.
type ending struct {
	Steps      int64           `json:"steps"`
	Terminated bool            `json:"terminated"`
	Truncated  bool            `json:"truncated"`
	Metadata   json.RawMessage `json:"metadata"`
}

//export persistingTrajectoriesFinishGo
func persistingTrajectoriesFinishGo(id C.persisting_trajectories, number C.int64_t, text *C.char, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		episode, err := episodeNumber(number)
		if err != nil {
			return err
		}
		var end ending
		if err := strictly("ending", C.GoString(text), &end); err != nil {
			return err
		}
		if len(end.Metadata) > 0 && !bytes.HasPrefix(end.Metadata, []byte("{")) {
			return fmt.Errorf("%w: ending: metadata is %.40s, want an object", errArgument, end.Metadata)
		}
		return s.Finish(episode, trajectory.Ending{Steps: end.Steps, Terminated: end.Terminated, Truncated: end.Truncated, Metadata: string(end.Metadata)})
	}, arg("ending", text))
}

//export persistingTrajectoriesCloseLostGo
func persistingTrajectoriesCloseLostGo(id C.persisting_trajectories, idleMs C.int64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		if idleMs < 0 || int64(idleMs) > math.MaxInt64/int64(time.Millisecond) {
			return fmt.Errorf("%w: idle_ms is %d, want 0 to %d", errArgument, idleMs, math.MaxInt64/int64(time.Millisecond))
		}
		count, err := s.CloseLost(time.Duration(idleMs) * time.Millisecond)
		if err != nil {
			return err
		}
		*out = C.int64_t(count)
		return nil
	}, arg("out_count", out))
}

//export persistingTrajectoriesDescribeGo
func persistingTrajectoriesDescribeGo(id C.persisting_trajectories, episode *C.char, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		found, err := s.Describe(C.GoString(episode))
		if err != nil {
			return err
		}
		return toJSON(found, out)
	}, arg("id", episode), arg("out_json", out))
}

// cursorOf hands a cursor out.
func cursorOf(c *table.Cursor, err error, out *C.persisting_cursor) error {
	if err != nil {
		return err
	}
	*out = C.persisting_cursor(handles.add(kindCursor, c))
	return nil
}

//export persistingTrajectoriesReadGo
func persistingTrajectoriesReadGo(id C.persisting_trajectories, number C.int64_t, out *C.persisting_cursor, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		episode, err := episodeNumber(number)
		if err != nil {
			return err
		}
		c, err := s.Read(episode)
		return cursorOf(c, err, out)
	}, arg("out_cursor", out))
}

//export persistingTrajectoriesTakeGo
func persistingTrajectoriesTakeGo(id C.persisting_trajectories, offsets *C.int64_t, count C.int64_t, out *C.persisting_cursor, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		at, err := offsetsAt(offsets, count)
		if err != nil {
			return err
		}
		c, err := s.Take(at)
		return cursorOf(c, err, out)
	}, arg("offsets", offsets), arg("out_cursor", out))
}

//export persistingTrajectoriesStepsGo
func persistingTrajectoriesStepsGo(id C.persisting_trajectories, text *C.char, out *C.persisting_cursor, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		q, err := table.ParseQuery([]byte(C.GoString(text)))
		if err != nil {
			return err
		}
		c, err := s.Steps(q)
		return cursorOf(c, err, out)
	}, arg("query", text), arg("out_cursor", out))
}

//export persistingTrajectoriesEpisodesGo
func persistingTrajectoriesEpisodesGo(id C.persisting_trajectories, text *C.char, out *C.persisting_cursor, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		q, err := table.ParseQuery([]byte(C.GoString(text)))
		if err != nil {
			return err
		}
		c, err := s.Episodes(q)
		return cursorOf(c, err, out)
	}, arg("episodes_query", text), arg("out_cursor", out))
}

// answersAt are count bytes of a caller, each of which is to be 0 or 1, as a bool of Go is.
func answersAt(out *C.uint8_t, count C.int64_t) []bool {
	return unsafe.Slice((*bool)(unsafe.Pointer(out)), int(count))
}

//export persistingTrajectoriesAreStepsGo
func persistingTrajectoriesAreStepsGo(id C.persisting_trajectories, offsets *C.int64_t, count C.int64_t, out *C.uint8_t, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		at, err := offsetsAt(offsets, count)
		if err != nil {
			return err
		}
		s.AreSteps(at, answersAt(out, count))
		return nil
	}, arg("offsets", offsets), arg("out_bytes", out))
}

//export persistingTrajectoriesAreEpisodesGo
func persistingTrajectoriesAreEpisodesGo(id C.persisting_trajectories, offsets, numbers *C.int64_t, count C.int64_t, out *C.uint8_t, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		at, err := offsetsAt(offsets, count)
		if err != nil {
			return err
		}
		of := unsafe.Slice((*int64)(unsafe.Pointer(numbers)), int(count))
		return s.AreEpisodes(at, of, answersAt(out, count))
	}, arg("offsets", offsets), arg("numbers", numbers), arg("out_bytes", out))
}

//export persistingTrajectoriesSchemaGo
func persistingTrajectoriesSchemaGo(id C.persisting_trajectories, out *C.struct_ArrowSchema, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error {
		exportSchema(s.Schema(), out)
		return nil
	}, arg("out_schema", out))
}

//export persistingTrajectoriesFlushGo
func persistingTrajectoriesFlushGo(id C.persisting_trajectories, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, (*trajectory.Store).Flush)
}

//export persistingTrajectoriesStatsGo
func persistingTrajectoriesStatsGo(id C.persisting_trajectories, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onTrajectories(id, e, func(s *trajectory.Store) error { return toJSON(s.Stats(), out) }, arg("out_json", out))
}

//export persistingTrajectoriesCloseGo
func persistingTrajectoriesCloseGo(id C.persisting_trajectories, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindTrajectories, uint64(id), (*trajectory.Store).Close) })
}
