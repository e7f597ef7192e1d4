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

	"github.com/persisting/persisting/engine/params"
)

//export persistingParamsOpenGo
func persistingParamsOpenGo(path *C.char, flags C.uint32_t, out *C.persisting_params, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error {
		if err := need(arg("path", path), arg("out_params", out)); err != nil {
			return err
		}
		dir := C.GoString(path)
		if dir == "" {
			return fmt.Errorf("%w: path is empty", errArgument)
		}
		s, err := params.Open(dir, params.Options{
			ReadOnly: flags&C.PERSISTING_OPEN_READ_ONLY != 0, Keep: flags&C.PERSISTING_KEEP != 0,
		})
		if err != nil {
			return err
		}
		*out = C.persisting_params(handles.add(kindParams, s))
		return nil
	})
}

func onParams(id C.persisting_params, e *C.struct_persisting_error, half func(*params.Store) error, arguments ...argument) C.persisting_status {
	return guard(e, func() error {
		if err := need(arguments...); err != nil {
			return err
		}
		return with(kindParams, uint64(id), half)
	})
}

var paramsAbort = (*params.Store).Abort

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
	err := need(
		argument{"tensors.names", c.names == nil}, arg("tensors.name_sizes", c.name_sizes), arg("tensors.dtypes", c.dtypes),
		arg("tensors.dtype_numbers", c.dtype_numbers), arg("tensors.ranks", c.ranks), arg("tensors.dims", c.dims),
		arg("tensors.addresses", c.addresses), arg("tensors.lengths", c.lengths), arg("tensors.ties", c.ties),
	)
	if err != nil {
		return nil, err
	}
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

// element is the i-th of an array.
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

// saveOptions are those of a save, as JSON.
type saveOptions struct {
	Tags     []string        `json:"tags"`
	Metadata json.RawMessage `json:"metadata"`
	Expect   *uint64         `json:"expect"`
	Base     string          `json:"base"`
}

func parseSaveOptions(text string) (params.SaveOptions, error) {
	var o saveOptions
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		return params.SaveOptions{}, fmt.Errorf("%w: save_options: want a JSON object with tags, metadata, expect and base: %w", errArgument, err)
	}
	if len(o.Metadata) > 0 && !bytes.HasPrefix(o.Metadata, []byte("{")) {
		return params.SaveOptions{}, fmt.Errorf("%w: save_options: metadata is %.40s, want an object", errArgument, o.Metadata)
	}
	return params.SaveOptions(o), nil
}

//export persistingParamsSaveGo
func persistingParamsSaveGo(id C.persisting_params, name *C.char, tensors *C.struct_persisting_tensors, options *C.char, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		o, err := parseSaveOptions(C.GoString(options))
		if err != nil {
			return err
		}
		all, err := tensorsOf(tensors)
		if err != nil {
			return err
		}
		entry, err := s.Save(C.GoString(name), all, o)
		if err != nil {
			return err
		}
		return toJSON(entry, out)
	}, arg("name", name), arg("tensors", tensors), arg("save_options", options), arg("out_json", out))
}

//export persistingParamsListGo
func persistingParamsListGo(id C.persisting_params, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		names, err := s.List()
		if err != nil {
			return err
		}
		return toJSON(names, out)
	}, arg("out_json", out))
}

//export persistingParamsGetGo
func persistingParamsGetGo(id C.persisting_params, name *C.char, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		found, err := s.Get(C.GoString(name))
		if err != nil {
			return err
		}
		return toJSON(found, out)
	}, arg("name", name), arg("out_json", out))
}

func paramsWait(s *params.Store, name string, above, timeoutMs int64) (uint64, error) {
	if above < 0 || timeoutMs < 0 || timeoutMs > math.MaxInt32 {
		return 0, fmt.Errorf("%w: above is %d, timeout_ms %d, want a version or 0, and 0 to %d", errArgument, above, timeoutMs, math.MaxInt32)
	}
	return s.Wait(name, uint64(above), time.Duration(timeoutMs)*time.Millisecond)
}

// expected is the version that a tag is to name before; nil is any.
func expected(version C.int64_t) (*uint64, error) {
	if version < -1 {
		return nil, fmt.Errorf("%w: expect is %d, want a version, 0 for none or -1 for any", errArgument, version)
	}
	if version == -1 {
		return nil, nil
	}
	want := uint64(version)
	return &want, nil
}

//export persistingParamsSetTagGo
func persistingParamsSetTagGo(id C.persisting_params, name, tag, reference *C.char, expect C.int64_t, out *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		want, err := expected(expect)
		if err != nil {
			return err
		}
		version, err := s.SetTag(C.GoString(name), C.GoString(tag), C.GoString(reference), want)
		if err != nil {
			return err
		}
		*out = C.int64_t(version)
		return nil
	}, arg("name", name), arg("tag", tag), arg("reference", reference), arg("out_version", out))
}

//export persistingParamsDeleteTagGo
func persistingParamsDeleteTagGo(id C.persisting_params, name, tag *C.char, expect C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		want, err := expected(expect)
		if err != nil {
			return err
		}
		return s.DeleteTag(C.GoString(name), C.GoString(tag), want)
	}, arg("name", name), arg("tag", tag))
}

//export persistingParamsDeleteGo
func persistingParamsDeleteGo(id C.persisting_params, name *C.char, versions *C.int64_t, count C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		if count < 0 || count > math.MaxInt32 {
			return fmt.Errorf("%w: count is %d, want 0 to %d", errArgument, count, math.MaxInt32)
		}
		chosen := make([]uint64, count)
		for i, version := range unsafe.Slice(versions, count) {
			if version < 1 {
				return fmt.Errorf("%w: versions[%d] is %d, want at least 1", errArgument, i, version)
			}
			chosen[i] = uint64(version)
		}
		return s.Delete(C.GoString(name), chosen)
	}, arg("name", name), arg("versions", versions))
}

//export persistingParamsVerifyGo
func persistingParamsVerifyGo(id C.persisting_params, name *C.char, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		report, err := s.Verify(C.GoString(name))
		if err != nil {
			return err
		}
		return toJSON(report, out)
	}, arg("name", name), arg("out_json", out))
}

//export persistingParamsCollectGo
func persistingParamsCollectGo(id C.persisting_params, out **C.char, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		found, err := s.Collect()
		if err != nil {
			return err
		}
		return toJSON(found, out)
	}, arg("out_json", out))
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

//export persistingParamsPartGo
func persistingParamsPartGo(id C.persisting_params, transaction *C.char, rank C.int32_t, tensors *C.struct_persisting_tensors, wholes, offsets *C.int64_t, e *C.struct_persisting_error) C.persisting_status {
	return onParams(id, e, func(s *params.Store) error {
		pieces, err := piecesOf(tensors, wholes, offsets)
		if err != nil {
			return err
		}
		return s.Part(C.GoString(transaction), int(rank), pieces)
	}, arg("transaction", transaction), arg("tensors", tensors), arg("wholes", wholes), arg("offsets", offsets))
}

func paramsCommit(s *params.Store, transaction string, options []byte) (any, error) {
	o, err := parseSaveOptions(string(options))
	if err != nil {
		return nil, err
	}
	if o.Base != "" {
		return nil, fmt.Errorf("%w: save_options: base is %q, and is that of persisting_params_begin", errArgument, o.Base)
	}
	return s.Commit(transaction, o)
}

//export persistingParamsCloseGo
func persistingParamsCloseGo(id C.persisting_params, e *C.struct_persisting_error) C.persisting_status {
	return guard(e, func() error { return shut(kindParams, uint64(id), (*params.Store).Close) })
}
