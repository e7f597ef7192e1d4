package delta

import "sync"

// Layer is what is done to a block.
type Layer struct {
	Code    Code
	Payload []byte
}

// windowBytes of a block are made what they are to be by all layers, one after the other, while they are in the cache next to the
// processor, which has no room for a whole block.
const windowBytes = 64 << 10

// scratch has room for the streams of payloads.
type scratch struct {
	huffman huffman
	streams [][]byte
	used    int
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// read reads the first stream of a payload; its bytes stay until the scratch is given back.
func (s *scratch) read(payload []byte, limit int) (plain, rest []byte, err error) {
	if s.used == len(s.streams) {
		s.streams = append(s.streams, nil)
	}
	into := &s.streams[s.used]
	s.used++
	*into, rest, err = s.huffman.read(*into, payload, limit)
	return *into, rest, err
}

// Apply does to a block, which holds the base of the first layer, what layers say, one after the other. After an error it may hold
// anything; the number is that of the layer which makes no sense then.
func Apply(width int, layers []Layer, block []byte) (int, error) {
	switch width {
	case 1:
		return apply[uint8, int8](layers, block)
	case 2:
		return apply[uint16, int16](layers, block)
	case 4:
		return apply[uint32, int32](layers, block)
	case 8:
		return apply[uint64, int64](layers, block)
	}
	return 0, ErrPayload
}

func apply[T element, S signed](layers []Layer, block []byte) (int, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.used = 0
	steps := make([]step[T, S], 0, 16) // on the stack, as there are fewer
	for i, l := range layers {
		if l.Code == Raw { // what came before it is of no use
			if steps = steps[:0]; len(l.Payload) != len(block) {
				return i, ErrPayload
			}
			copy(block, l.Payload)
			continue
		}
		next, err := newStep[T, S](s, l, len(block))
		if err != nil {
			return i, err
		}
		next.layer = i
		steps = append(steps, next)
	}
	view := viewOf[T](block)
	for begin := 0; begin < len(view); begin += windowBytes / size[T]() {
		end := min(begin+windowBytes/size[T](), len(view))
		for i := range steps {
			if !steps[i].apply(view[:end], begin) {
				return steps[i].layer, ErrPayload
			}
		}
	}
	for i := range steps {
		if len(steps[i].gaps)+len(steps[i].ulps)+len(steps[i].values) > 0 { // it changes what is behind the block
			return steps[i].layer, ErrPayload
		}
	}
	return 0, nil
}

// step is a layer under way: what is left of its streams.
type step[T element, S signed] struct {
	code   Code
	layer  int
	at     int // of a sparse one, the element that changed last
	gaps   []byte
	ulps   []byte
	values []T
}

// newStep reads the streams of a payload for a block of some bytes.
func newStep[T element, S signed](s *scratch, l Layer, length int) (made step[T, S], err error) {
	made.code, made.at = l.Code, -1
	payload := l.Payload
	switch l.Code {
	case Same:
		return made, check(len(payload) == 0)
	case Sparse:
		if made.gaps, payload, err = s.read(payload, length+length/far+1); err != nil {
			return made, err
		}
	case Plane:
	default:
		return made, ErrPayload
	}
	if made.ulps, payload, err = s.read(payload, length); err != nil {
		return made, err
	}
	made.values = viewOf[T](payload)
	return made, check(len(payload)%size[T]() == 0 && (l.Code == Sparse || len(made.ulps) == length/size[T]()))
}

// apply changes the elements of a block from one on, up to the end of what is given of it, and says whether that makes sense.
func (s *step[T, S]) apply(block []T, begin int) bool {
	switch s.code {
	case Sparse:
		return s.sparse(block)
	case Plane:
		return s.plane(block[begin:])
	}
	return true
}

func (s *step[T, S]) sparse(block []T) bool {
	at, gaps, ulps, i, n := s.at, s.gaps, s.ulps, 0, 0
	for ; i < len(gaps); i++ {
		gap := gaps[i]
		next := at + int(gap)
		if gap == far {
			at = next
			continue
		}
		if next++; next >= len(block) {
			break
		}
		if n >= len(ulps) {
			return false
		}
		ulp := ulps[n]
		n++
		if at = next; ulp != escape {
			block[at] = unordered[T, S](ordered[T, S](block[at]) + T(int8(ulp)))
			continue
		}
		if len(s.values) == 0 {
			return false
		}
		block[at], s.values = s.values[0], s.values[1:]
	}
	s.at, s.gaps, s.ulps = at, gaps[i:], ulps[n:]
	return true
}

func (s *step[T, S]) plane(block []T) bool {
	ulps := s.ulps[:len(block)]
	eights, words := viewOf[uint64](ulps), viewOf[uint64](bytesOf(block))
	for i := 0; i < len(ulps); {
		if k := i / 8; size[T]() == 2 && i%8 == 0 && k < len(eights) && !hasEscape(eights[k]) {
			words[2*k] = moved(words[2*k], uint32(eights[k]))
			words[2*k+1] = moved(words[2*k+1], uint32(eights[k]>>32))
			i += 8
			continue
		}
		if ulps[i] != escape {
			block[i] = unordered[T, S](ordered[T, S](block[i]) + T(int8(ulps[i])))
		} else if len(s.values) > 0 {
			block[i], s.values = s.values[0], s.values[1:]
		} else {
			return false
		}
		i++
	}
	s.ulps = s.ulps[len(block):]
	return true
}
