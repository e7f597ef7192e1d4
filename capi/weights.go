package main

// #include "shim.h"
import "C"

import (
	"encoding/json"
	"fmt"

	"github.com/persisting/persisting/engine/params"
)

//export persistingWeightsOpenGo
func persistingWeightsOpenGo(id C.persisting_params, name, reference *C.char, out *C.persisting_weights, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		w, err := s.Open(C.GoString(name), C.GoString(reference))
		if err != nil {
			return err
		}
		*out = C.persisting_weights(handles.add(kindWeights, w))
		return nil
	}, arg("name", name), arg("reference", reference), arg("out_weights", out))
}

func onWeights(id C.persisting_weights, e *C.struct_persisting_error, half func(openWeights) error, arguments ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(arguments...); err != nil {
			return err
		}
		return with(kindWeights, uint64(id), half)
	})
}

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

func weightsEntry(w *params.Weights) (any, error) { return entryOfWeights(w), nil }

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

//export persistingWeightsDescribeGo
func persistingWeightsDescribeGo(id C.persisting_weights, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onWeights(id, e, func(w *params.Weights) error { return toJSON(describeWeights(w), out) }, arg("out_json", out))
}

// wantsOf are whole tensors and the memory of each.
func wantsOf(count C.int64_t, numbers *C.int64_t, addresses *C.uint64_t, lengths *C.int64_t) ([]params.Want, error) {
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

//export persistingWeightsLoadGo
func persistingWeightsLoadGo(id C.persisting_weights, count C.int64_t, numbers, offsets *C.int64_t, addresses *C.uint64_t, lengths *C.int64_t, flags C.uint32_t, e *C.struct_persisting_error) C.persisting_status {
	return onWeights(id, e, func(w *params.Weights) error {
		wants, err := wantsOf(count, numbers, addresses, lengths)
		if err != nil {
			return err
		}
		for i := range wants {
			wants[i].Offset = int64(*element(offsets, uintptr(i)))
		}
		return w.Load(wants, flags&C.PERSISTING_UNVERIFIED == 0)
	}, arg("numbers", numbers), arg("byte_offsets", offsets), arg("addresses", addresses), arg("lengths", lengths))
}

func weightsPull(to, from *params.Weights, count int64, numbers *C.int64_t, addresses *C.uint64_t, lengths *C.int64_t, unverified bool) (any, error) {
	wants, err := wantsOf(C.int64_t(count), numbers, addresses, lengths)
	if err != nil {
		return nil, err
	}
	return to.Pull(from, wants, !unverified)
}

//export persistingWeightsDiffGo
func persistingWeightsDiffGo(id, other C.persisting_weights, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onWeights(id, e, func(from *params.Weights) error {
		return beside(kindWeights, uint64(other), func(to *params.Weights) error { return toJSON(params.Diff(from, to), out) })
	}, arg("out_json", out))
}

//export persistingWeightsCloseGo
func persistingWeightsCloseGo(id C.persisting_weights, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindWeights, uint64(id), (*params.Weights).Close) })
}
