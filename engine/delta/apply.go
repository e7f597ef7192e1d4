package delta

import "sync"

// scratch has room for the streams of a payload.
type scratch struct {
	huffman    huffman
	gaps, ulps []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Apply turns a block, which holds the base, into the target. After an error it may hold anything.
func Apply(code Code, width int, payload, block []byte) error {
	switch code {
	case Same:
		return check(len(payload) == 0)
	case Raw:
		if len(payload) != len(block) {
			return ErrPayload
		}
		copy(block, payload)
		return nil
	case Sparse, Plane:
		switch width {
		case 1:
			return apply[uint8, int8](code, payload, block)
		case 2:
			return apply[uint16, int16](code, payload, block)
		case 4:
			return apply[uint32, int32](code, payload, block)
		case 8:
			return apply[uint64, int64](code, payload, block)
		}
	}
	return ErrPayload
}

func apply[T element, S signed](code Code, payload, block []byte) (err error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	if code == Sparse {
		if s.gaps, payload, err = s.huffman.read(s.gaps, payload, len(block)+len(block)/far+1); err != nil {
			return err
		}
	}
	if s.ulps, payload, err = s.huffman.read(s.ulps, payload, len(block)); err != nil {
		return err
	}
	if len(payload)%size[T]() != 0 {
		return ErrPayload
	}
	if code == Sparse {
		return applySparse[T, S](s.gaps, s.ulps, viewOf[T](payload), viewOf[T](block))
	}
	return applyPlane[T, S](s.ulps, viewOf[T](payload), viewOf[T](block))
}

func applySparse[T element, S signed](gaps, ulps []byte, values, block []T) error {
	at, next := -1, 0
	for _, gap := range gaps {
		if at += int(gap); gap == far {
			continue
		}
		if at++; at >= len(block) || next >= len(ulps) {
			return ErrPayload
		}
		ulp := ulps[next]
		next++
		if ulp != escape {
			block[at] = unordered[T, S](ordered[T, S](block[at]) + T(int8(ulp)))
			continue
		}
		if len(values) == 0 {
			return ErrPayload
		}
		block[at], values = values[0], values[1:]
	}
	return check(next == len(ulps) && len(values) == 0)
}

func applyPlane[T element, S signed](ulps []byte, values, block []T) error {
	if len(ulps) != len(block) {
		return ErrPayload
	}
	for i, ulp := range ulps {
		if ulp != escape {
			block[i] = unordered[T, S](ordered[T, S](block[i]) + T(int8(ulp)))
			continue
		}
		if len(values) == 0 {
			return ErrPayload
		}
		block[i], values = values[0], values[1:]
	}
	return check(len(values) == 0)
}
