package params

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/persisting/persisting/engine"
	"github.com/persisting/persisting/engine/params/pack"
	"github.com/persisting/persisting/metrics"
	"github.com/persisting/persisting/vfs"
	"golang.org/x/sync/errgroup"
)

// Want is a part of a tensor and the memory that it goes to.
type Want struct {
	Tensor int   // in the order of [Weights.Tensors]
	Offset int64 // of its first byte in the tensor
	Into   []byte
	Rows   Rows // none: the part is in one piece, here and there
}

// Load reads parts of tensors into memory. Without verify nothing is checked. After an error the memory may hold anything.
func (v *Weights) Load(wants []Want, verify bool) (err error) {
	defer v.s.counted(metrics.Load, time.Now(), &err)
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.closed {
		return ErrClosed
	}
	places := v.m.places()
	var units []unit
	for _, w := range wants {
		if w.Tensor < 0 || w.Tensor >= len(places) {
			return invalid("tensor %d, want 0 to %d", w.Tensor, len(places)-1)
		}
		i := places[w.Tensor]
		span, err := w.span()
		if err != nil {
			return err
		}
		if length := v.m.length(i); w.Offset < 0 || w.Offset > length-span {
			return invalid("tensor %q has %d bytes, not %d from %d on", v.m.name(i), length, span, w.Offset)
		}
		units = v.units(units, i, w, verify)
	}
	if err := v.read(units, verify, nil); err != nil {
		return err
	}
	v.s.metrics.Loaded(wanted(wants))
	return nil
}

// wanted is how many bytes are asked for.
func wanted(all []Want) (bytes int64) {
	for _, w := range all {
		bytes += int64(len(w.Into))
	}
	return bytes
}

// unit is a block, or with verify off a part of one, that is read in one piece.
type unit struct {
	tensor int
	pack   uint32
	offset int64 // in the pack
	length int64
	sum    pack.Sum
	skip   int64  // bytes at its beginning that are not wanted
	into   []byte // nil where it goes to rows, or nowhere: then it is looked at only whether it is sound
	rows   *Want  // that parts of it go to, nil where it goes to into

	chain *chain // that is applied to it, nil where it is what is wanted
	block int64
}

// units adds what has to be read for a part of a tensor. Where there are layers, or rows, a block is read as a whole in any case.
func (v *Weights) units(units []unit, tensor int, w Want, verify bool) []unit {
	if w.Rows.Count > 0 {
		return v.rowUnits(units, tensor, w)
	}
	m := v.m
	object := m.objectOf[tensor]
	length, at, sums := m.lengths[object], m.offsets[object], m.sumsOf(object)
	into, layers := w.Into, v.chain(object)
	if layers != nil {
		layers.left.Store(pack.Blocks(w.Offset+int64(len(into))) - (w.Offset+pack.Phase)/pack.BlockBytes)
	}
	for off := w.Offset; len(into) > 0; {
		block := (off + pack.Phase) / pack.BlockBytes
		from, to := pack.Range(block, length)
		n := min(to-off, int64(len(into)))
		u := unit{tensor: tensor, pack: m.packOf[object], offset: at + from, length: to - from, sum: sums[block], skip: off - from, into: into[:n], chain: layers, block: block}
		if !verify && layers == nil {
			u.offset, u.length, u.skip = at+off, n, 0
		}
		units = append(units, u)
		off, into = off+n, into[n:]
	}
	return units
}

const (
	// jobBytes is the most that is read in one go, and what small neighbours are read together up to.
	jobBytes = 4 << 20
	// gapBytes between two of them are read along.
	gapBytes = 16 << 10
	// mixedBytes is the most that goes to memory in several places, which is copied there.
	mixedBytes = 1 << 20
	// fewUnits are so many as a job has of large tensors.
	fewUnits = jobBytes/pack.BlockBytes + 1
	// aheadUnits is how many units before its turn the layers of one are asked for: they are small and lie in other packs, and
	// all who read a tensor would wait for each of them.
	aheadUnits = 64
)

// read reads units, several at a time. Without fault the first that fails ends it; else fault is told of each.
func (v *Weights) read(units []unit, verify bool, fault func(error)) error {
	slices.SortFunc(units, func(a, b unit) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset))
	})
	var group errgroup.Group
	group.SetLimit(v.s.o.Readers)
	var failed atomic.Bool
	ahead := 0
	for len(units) > 0 {
		for ; ahead < min(aheadUnits, len(units)); ahead++ {
			if c := units[ahead].chain; c != nil {
				c.ask()
			}
		}
		n := jobUnits(units)
		job := units[:n]
		units, ahead = units[n:], max(0, ahead-n)
		group.Go(func() error {
			if failed.Load() {
				return nil
			}
			err := v.readJob(job, verify, fault)
			if err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	return group.Wait()
}

// jobUnits is how many of the next units are read in one go.
func jobUnits(units []unit) int {
	first := units[0]
	end := first.offset + first.length
	n := 1
	for ; n < len(units); n++ {
		u := units[n]
		most := int64(jobBytes)
		if !u.follows(&units[n-1]) {
			most = mixedBytes
		}
		if u.pack != first.pack || u.offset > end+gapBytes || u.offset+u.length > first.offset+most {
			break
		}
		end = max(end, u.offset+u.length)
	}
	return n
}

// follows says whether a unit goes on where another ends, in the pack as in memory. What goes to no memory is as good.
func (u *unit) follows(before *unit) bool {
	if u.into == nil {
		return before.into == nil
	}
	return before.whole() && u.whole() && u.offset == before.offset+before.length &&
		vfs.Address(u.into) == vfs.Address(before.into)+uintptr(len(before.into))
}

// whole says whether all that is read of a unit is wanted.
func (u *unit) whole() bool { return int64(len(u.into)) == u.length }

// readJob reads neighbours and checks them.
func (v *Weights) readJob(job []unit, verify bool, fault func(error)) (failed error) {
	defer engine.Contain(&failed)
	r, err := v.reader(job)
	if err == nil {
		err = r.fill(verify)
	}
	defer r.free()
	for i := range job {
		one := err
		if one == nil {
			one = r.finish(&job[i], verify)
		}
		if job[i].chain != nil {
			job[i].chain.done()
		}
		switch {
		case one == nil:
		case fault != nil:
			fault(v.place(&job[i], one))
		default:
			return v.place(&job[i], one)
		}
	}
	return nil
}

// place says of an error where it is.
func (v *Weights) place(u *unit, err error) error {
	name := string(v.m.name(u.tensor))
	var known *pack.DamageError
	switch {
	case errors.Is(err, errSum), errors.Is(err, io.ErrUnexpectedEOF):
		return &pack.DamageError{Path: v.s.packPath(v.m.packs[u.pack]), Offset: u.offset, Tensor: name, Reason: err.Error()}
	case errors.As(err, &known):
		return &pack.DamageError{Path: known.Path, Offset: known.Offset, Tensor: name, Reason: known.Reason}
	}
	return &ReadError{name, err}
}

// ReadError is a read that failed, of a tensor.
type ReadError struct {
	Tensor string
	Err    error
}

func (e *ReadError) Error() string { return fmt.Sprintf("params: tensor %q: %v", e.Tensor, e.Err) }

// Unwrap returns what failed.
func (e *ReadError) Unwrap() error { return e.Err }

// jobReader is a job under way.
type jobReader struct {
	job    []unit
	files  *packFiles
	from   int64   // of the job in the pack
	length int64   // up to the end of its last unit
	memory []byte  // from there on: the caller's, or a buffer
	filled bool    // else each unit is read when it is finished
	own    *[]byte // the buffer, if there is one
}

// buffers have room for a job, and for what is read along on both sides of it.
var buffers = sync.Pool{New: func() any {
	b := vfs.Aligned(jobBytes + 2*vfs.DirectAlign)
	return &b
}}

func (r *jobReader) buffer() []byte {
	r.own = buffers.Get().(*[]byte)
	return *r.own
}

func (r *jobReader) free() {
	if r.own != nil {
		buffers.Put(r.own)
	}
}

// reader finds the pack and the memory of a job.
func (v *Weights) reader(job []unit) (*jobReader, error) {
	r := &jobReader{job: job, from: job[0].offset, memory: contiguous(job)}
	for _, u := range job {
		r.length = max(r.length, u.offset+u.length-r.from)
	}
	var err error
	r.files, err = v.file(job[0].pack)
	return r, err
}

// contiguous is the memory that all of a job goes to, nil where it is not in one piece.
func contiguous(job []unit) []byte {
	if !job[0].whole() {
		return nil
	}
	for i := 1; i < len(job); i++ {
		if !job[i].follows(&job[i-1]) {
			return nil
		}
	}
	last := &job[len(job)-1]
	return unsafe.Slice(unsafe.SliceData(job[0].into), last.offset+last.length-job[0].offset)
}

// fill reads the job past the page cache, unless most of it is there. What is, or cannot be read so, is read through it: into
// the caller's memory block by block if they are checked, so that the processor has each in its cache then.
func (r *jobReader) fill(verify bool) error {
	if r.files.direct != nil && vfs.Cached(r.files.opened, r.from, r.length) < r.length/2 && r.fillDirect() == nil {
		r.filled = true
		return nil
	}
	switch {
	case r.memory == nil:
		r.memory = r.buffer()[:r.length]
	case r.own != nil:
		r.memory = (*r.own)[:r.length]
	case verify && len(r.job) <= fewUnits:
		return nil
	}
	r.filled = true
	return vfs.ReadPieces(r.files.opened, [][]byte{r.memory}, r.from)
}

// fillDirect reads whole sectors into a buffer, which is in huge pages. The caller's memory mostly is not, and copying costs less
// than the disk loses by that: from the disk into tensors of torch 1.4 GB/s without the buffer.
func (r *jobReader) fillDirect() error {
	align := int64(r.files.align)
	begin, end := r.from&^(align-1), (r.from+r.length+align-1)&^(align-1)
	memory := r.buffer()[:end-begin]
	r.memory = memory[r.from-begin:][:r.length]
	return vfs.ReadPieces(r.files.direct, [][]byte{memory}, begin)
}

// finish makes a unit what it is to be, checks it, and brings it to where it is wanted.
func (r *jobReader) finish(u *unit, verify bool) error {
	data := r.memory[u.offset-r.from:][:u.length]
	if !r.filled {
		if err := vfs.ReadPieces(r.files.opened, [][]byte{data}, u.offset); err != nil {
			return err
		}
	}
	if u.chain != nil {
		if r.own != nil { // which others may be made of as well
			data = u.copied(data)
		}
		if err := u.chain.apply(u.block, data); err != nil {
			return err
		}
	}
	if verify && pack.SumOf(data) != u.sum {
		return r.blame(u)
	}
	switch {
	case u.rows != nil:
		from, _ := pack.Range(u.block, u.length) // where it begins, however long the object is
		u.rows.put(data, from)
	case r.own != nil:
		copy(u.into, data[u.skip:])
	}
	return nil
}

// copied is a copy of the bytes of a unit: where it is wanted, if all of it is.
func (u *unit) copied(data []byte) []byte {
	if len(u.into) == len(data) {
		copy(u.into, data)
		return u.into
	}
	return append([]byte(nil), data...)
}

// blame says of a unit that is not what it was where that comes from. The layers had their checksums, so it is the bytes below
// them, unless these are sound.
func (r *jobReader) blame(u *unit) error {
	if u.chain == nil {
		return errSum
	}
	data := make([]byte, u.length)
	if err := vfs.ReadPieces(r.files.opened, [][]byte{data}, u.offset); err != nil {
		return err
	}
	last := &u.chain.opened[len(u.chain.opened)-1]
	if pack.SumOf(data) == u.chain.opened[0].blocks[u.block].base {
		return last.damage(u.block, "the layers up to this one make another block than they should")
	}
	return errSum
}
