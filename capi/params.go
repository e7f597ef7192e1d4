package main

// #include "shim.h"
import "C"

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine/params"
)

var (
	paramsAbort   = (*params.Store).Abort
	paramsClose   = (*params.Store).Close
	paramsCollect = (*params.Store).Collect
	paramsGet     = (*params.Store).Get
	paramsList    = (*params.Store).List
	paramsVerify  = (*params.Store).Verify
)

// paramsOpen shares nothing with other stores: parameters are read and written in large pieces, by the memory of the caller, and
// take none of the budget of rows.
func paramsOpen(dir string, readOnly, keep bool) (*params.Store, error) {
	return params.Open(dir, params.Options{ReadOnly: readOnly, Keep: keep, Metrics: buckets})
}

// maxTensors bounds what one call takes, far above what any model has.
const maxTensors = 1 << 31

// tensorColumns are the columns of tensors where C has them.
type tensorColumns struct {
	c      *C.struct_persisting_tensors
	dtypes []string
}

// tensorsOf are the tensors of a call. Their memory is C's, and no Go pointer is ever stored in it.
func tensorsOf(c *C.struct_persisting_tensors) ([]params.Tensor, error) {
	if c.count < 0 || c.count > maxTensors {
		return nil, fmt.Errorf("%w: tensors.count is %d, want 0 to %d", errArgument, c.count, maxTensors)
	}
	// By name: a column that was forgotten would be read all the same, and end the process.
	err := need(
		argument{"tensors.names", c.names == nil}, arg("tensors.name_sizes", c.name_sizes), arg("tensors.dtypes", c.dtypes),
		arg("tensors.dtype_numbers", c.dtype_numbers), arg("tensors.ranks", c.ranks), arg("tensors.dims", c.dims),
		arg("tensors.addresses", c.addresses), arg("tensors.lengths", c.lengths), arg("tensors.ties", c.ties),
	)
	if err != nil {
		return nil, err
	}
	// Behind the line feed of the last tag is one piece more, which is no tag.
	columns := tensorColumns{c, strings.Split(C.GoString(c.dtypes), "\n")}
	tensors := make([]params.Tensor, c.count)
	names, dims := uintptr(0), uintptr(0)
	for i := range tensors {
		if err := columns.read(&tensors[i], uintptr(i), &names, &dims); err != nil {
			return nil, fmt.Errorf("%w: tensor %d: %w", errArgument, i, err)
		}
	}
	return tensors, nil
}

// element is the i-th of an array, of which nobody has said how long it is: the columns before say how far it is read.
func element[T any](array *T, i uintptr) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(array), i*unsafe.Sizeof(*array)))
}

// read reads the i-th tensor, whose name and dimensions begin as given, and goes on to those of the next.
func (t tensorColumns) read(tensor *params.Tensor, i uintptr, names, dims *uintptr) error {
	size, number := *element(t.c.name_sizes, i), *element(t.c.dtype_numbers, i)
	rank, tie := *element(t.c.ranks, i), *element(t.c.ties, i)
	switch {
	case size < 0 || rank < 0 || tie < 0:
		return fmt.Errorf("name_sizes is %d, ranks %d, ties %d: want none below 0", size, rank, tie)
	case number < 0 || int(number) >= len(t.dtypes)-1:
		return fmt.Errorf("dtype_numbers is %d, want 0 to %d", number, len(t.dtypes)-2)
	}
	data, err := borrowed(*element(t.c.addresses, i), *element(t.c.lengths, i))
	if err != nil {
		return err
	}
	// Names and shapes are copied, which the catalog keeps. The data is read where it is, and not after the call.
	name := unsafe.Slice((*byte)(unsafe.Add(t.c.names, *names)), size)
	shape := unsafe.Slice((*int64)(element(t.c.dims, *dims)), rank)
	*tensor = params.Tensor{
		Name: string(name), DType: t.dtypes[number], Shape: append([]int64(nil), shape...), Data: data, Tie: uint32(tie),
	}
	*names += uintptr(size)
	*dims += uintptr(rank)
	return nil
}

// borrowed is memory that C owns, whose address came as a number, which the compiler cannot follow.
func borrowed(address C.uint64_t, length C.int64_t) ([]byte, error) {
	if length < 0 || length > 0 && address == 0 {
		return nil, fmt.Errorf("%w: %d bytes at address %#x", errArgument, length, address)
	}
	if length == 0 {
		return nil, nil
	}
	at := *(*unsafe.Pointer)(unsafe.Pointer(&address))
	return unsafe.Slice((*byte)(at), length), nil
}

func parseSaveOptions(text []byte) (params.SaveOptions, error) {
	var o struct {
		Tags     []string        `json:"tags"`
		Metadata json.RawMessage `json:"metadata"`
		Expect   *uint64         `json:"expect"`
		Base     string          `json:"base"`
	}
	if err := parseJSON("save_options", text, &o); err != nil {
		return params.SaveOptions{}, err
	}
	// Kept as the text that it came as. That it is JSON has been seen, so what it begins with says what it is.
	if len(o.Metadata) > 0 && !bytes.HasPrefix(o.Metadata, []byte("{")) {
		return params.SaveOptions{}, fmt.Errorf("%w: save_options: metadata is %.40s, want an object", errArgument, o.Metadata)
	}
	return params.SaveOptions{Tags: o.Tags, Metadata: o.Metadata, Expect: o.Expect, Base: o.Base}, nil
}

// paramsSave reads the options before the tensors: a slip in them is told before a model of many tensors is gone through.
func paramsSave(
	s *params.Store, name string, tensors *C.struct_persisting_tensors, options []byte, progress *C.struct_persisting_progress,
) (*params.Entry, error) {
	o, err := parseSaveOptions(options)
	if err != nil {
		return nil, err
	}
	if progress != nil {
		o.Progress = progressAt(progress)
	}
	all, err := tensorsOf(tensors)
	if err != nil {
		return nil, err
	}
	return s.Save(name, all, o)
}

// progressAt tells C how far a call is, and asks whether it is to go on. Both sides look at the numbers at any time.
func progressAt(c *C.struct_persisting_progress) func(int64) error {
	return func(done int64) error {
		atomic.StoreInt64((*int64)(&c.done), done)
		if atomic.LoadInt64((*int64)(&c.stop)) != 0 {
			return fmt.Errorf("%w: the caller ended it", params.ErrClosed)
		}
		return nil
	}
}

func paramsWait(s *params.Store, name string, above, timeoutMs int64) (uint64, error) {
	if above < 0 || timeoutMs < 0 || timeoutMs > math.MaxInt32 {
		return 0, fmt.Errorf("%w: above is %d, timeout_ms %d, want a version or 0, and 0 to %d", errArgument, above, timeoutMs, math.MaxInt32)
	}
	return s.Wait(name, uint64(above), time.Duration(timeoutMs)*time.Millisecond)
}

// expected is the version that a tag is to name before; nil is any.
func expected(version int64) (*uint64, error) {
	if version < -1 {
		return nil, fmt.Errorf("%w: expect is %d, want a version, 0 for none or -1 for any", errArgument, version)
	}
	if version == -1 {
		return nil, nil
	}
	want := uint64(version)
	return &want, nil
}

func paramsSetTag(s *params.Store, name, tag, version string, expect int64) (uint64, error) {
	want, err := expected(expect)
	if err != nil {
		return 0, err
	}
	return s.SetTag(name, tag, version, want)
}

func paramsDeleteTag(s *params.Store, name, tag string, expect int64) error {
	want, err := expected(expect)
	if err != nil {
		return err
	}
	return s.DeleteTag(name, tag, want)
}

func paramsDelete(s *params.Store, name string, versions *C.int64_t, count int64) error {
	if count < 0 || count > math.MaxInt32 {
		return fmt.Errorf("%w: count is %d, want 0 to %d", errArgument, count, math.MaxInt32)
	}
	chosen := make([]uint64, count)
	for i, version := range unsafe.Slice(versions, count) {
		if version < 1 { // what -1 and 0 mean elsewhere, any and none, would remove more than was meant
			return fmt.Errorf("%w: versions[%d] is %d, want at least 1", errArgument, i, version)
		}
		chosen[i] = uint64(version)
	}
	return s.Delete(name, chosen)
}

func paramsBegin(s *params.Store, name string, ranks int32, base string) (string, error) {
	return s.Begin(name, int(ranks), base)
}

// piecesOf are the tensors of a call with the tensors that they are boxes of.
func piecesOf(c *C.struct_persisting_tensors, wholes, offsets *C.int64_t) ([]params.Piece, error) {
	tensors, err := tensorsOf(c)
	if err != nil {
		return nil, err
	}
	pieces := make([]params.Piece, len(tensors))
	begin := uintptr(0)
	for i, tensor := range tensors {
		rank := len(tensor.Shape)
		pieces[i] = params.Piece{
			Tensor:  tensor,
			Whole:   append([]int64{}, unsafe.Slice((*int64)(element(wholes, begin)), rank)...),
			Offsets: append([]int64{}, unsafe.Slice((*int64)(element(offsets, begin)), rank)...),
		}
		begin += uintptr(rank)
	}
	return pieces, nil
}

// paramsPart takes the boxes of one rank. What they are boxes of is said by each rank alike, and compared when all are there.
func paramsPart(s *params.Store, transaction string, rank int32, tensors *C.struct_persisting_tensors, wholes, offsets *C.int64_t) error {
	pieces, err := piecesOf(tensors, wholes, offsets)
	if err != nil {
		return err
	}
	return s.Part(transaction, int(rank), pieces)
}

// paramsCommit takes the options of a save but for the base: parts are told from the one of their transaction, and are written by now.
func paramsCommit(s *params.Store, transaction string, options []byte) (*params.Entry, error) {
	o, err := parseSaveOptions(options)
	if err != nil {
		return nil, err
	}
	if o.Base != "" {
		return nil, fmt.Errorf("%w: save_options: base is %q, and is that of persisting_params_begin", errArgument, o.Base)
	}
	return s.Commit(transaction, o)
}
