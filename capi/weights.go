package main

// #include "shim.h"
import "C"

import (
	"encoding/json"
	"fmt"

	"github.com/persisting/persisting/engine/params"
)

var (
	weightsClose    = (*params.Weights).Close
	weightsDescribe = succeeds(describeWeights)
	weightsEntry    = succeeds(entryOfWeights)
	weightsOpen     = (*params.Store).Open
)

// weightsEntryOf is what a version is.
type weightsEntryOf struct {
	Name     string          `json:"name"`
	Version  uint64          `json:"version"`
	Created  int64           `json:"created"`
	Tags     []string        `json:"tags"`
	Bytes    int64           `json:"bytes"`
	Stored   int64           `json:"stored"`
	Base     uint64          `json:"base"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// weightsDescribed is the same with its tensors.
type weightsDescribed struct {
	weightsEntryOf
	Tensors struct {
		Names  []string  `json:"names"`
		DTypes []string  `json:"dtypes"`
		Shapes [][]int64 `json:"shapes"`
		Bytes  []int64   `json:"bytes"`
		Ties   []uint32  `json:"ties"`
	} `json:"tensors"`
}

func entryOfWeights(w *params.Weights) weightsEntryOf {
	return weightsEntryOf{
		Name: w.Name, Version: w.Entry.Version, Created: w.Entry.Created, Tags: append([]string{}, w.Tags...),
		Bytes: w.Entry.Bytes, Stored: w.Entry.Stored, Base: w.Entry.Base, Metadata: w.Entry.Metadata,
	}
}

func describeWeights(w *params.Weights) *weightsDescribed {
	d := &weightsDescribed{weightsEntryOf: entryOfWeights(w)}
	all := w.Tensors()
	t := &d.Tensors
	t.Names, t.DTypes = make([]string, len(all)), make([]string, len(all))
	t.Shapes, t.Bytes, t.Ties = make([][]int64, len(all)), make([]int64, len(all)), make([]uint32, len(all))
	for i, tensor := range all {
		t.Names[i], t.DTypes[i], t.Bytes[i], t.Ties[i] = tensor.Name, tensor.DType, tensor.Bytes, tensor.Tie
		t.Shapes[i] = append([]int64{}, tensor.Shape...)
	}
	return d
}

// wantsOf are whole tensors and the memory of each.
func wantsOf(count int64, numbers *C.int64_t, addresses *C.uint64_t, lengths *C.int64_t) ([]params.Want, error) {
	if count < 0 || count > maxTensors {
		return nil, fmt.Errorf("%w: count is %d, want 0 to %d", errArgument, count, maxTensors)
	}
	wants := make([]params.Want, count)
	for i := range wants {
		at := uintptr(i)
		into, err := borrowed(*element(addresses, at), *element(lengths, at))
		if err != nil {
			return nil, err
		}
		wants[i] = params.Want{Tensor: int(*element(numbers, at)), Into: into}
	}
	return wants, nil
}

func weightsLoad(w *params.Weights, count int64, numbers, offsets *C.int64_t, addresses *C.uint64_t, lengths *C.int64_t, unverified bool) error {
	wants, err := wantsOf(count, numbers, addresses, lengths)
	if err != nil {
		return err
	}
	for i := range wants {
		wants[i].Offset = int64(*element(offsets, uintptr(i)))
	}
	return w.Load(wants, !unverified)
}

// weightsLoadRows takes rows where weightsLoad takes parts in one piece; the memory of a part is from its first byte to its last.
func weightsLoadRows(
	w *params.Weights, count int64, numbers, offsets *C.int64_t, addresses *C.uint64_t, lengths, counts, steps, distances *C.int64_t, unverified bool,
) error {
	if count < 0 || count > maxTensors {
		return fmt.Errorf("%w: count is %d, want 0 to %d", errArgument, count, maxTensors)
	}
	wants := make([]params.Want, count)
	for i := range wants {
		at := uintptr(i)
		part := params.Rows{
			Count: int64(*element(counts, at)), Length: int64(*element(lengths, at)), Step: int64(*element(steps, at)), Into: int64(*element(distances, at)),
		}
		size, err := part.Size()
		if err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		into, err := borrowed(*element(addresses, at), C.int64_t(size))
		if err != nil {
			return err
		}
		wants[i] = params.Want{Tensor: int(*element(numbers, at)), Offset: int64(*element(offsets, at)), Into: into, Rows: part}
	}
	return w.Load(wants, !unverified)
}

func weightsPull(to, from *params.Weights, count int64, numbers *C.int64_t, addresses *C.uint64_t, lengths *C.int64_t, unverified bool) (*params.Pulled, error) {
	wants, err := wantsOf(count, numbers, addresses, lengths)
	if err != nil {
		return nil, err
	}
	return to.Pull(from, wants, !unverified)
}

func weightsDiff(from, to *params.Weights) (*params.Difference, error) {
	return params.Diff(from, to), nil
}

func weightsPush(w *params.Weights, to *params.Store, name string, options []byte) (*params.Entry, error) {
	o, err := parseSaveOptions(options)
	if err != nil {
		return nil, err
	}
	return w.Push(to, name, o)
}
