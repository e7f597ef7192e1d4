package delta

import "math/bits"

const (
	// sparseShare and planeShare are how many of 100 elements may change.
	sparseShare = 20
	planeShare  = 60
	// rawShare is from how many hundredths of the target on a payload is not worth its while.
	rawShare = 90
)

// Coder encodes blocks. Its scratch is about that of two blocks. The zero value is ready.
type Coder struct {
	huffman huffman

	gaps, ulps, escapes []byte
}

// Encode says how target comes from base, which is as long, in elements of width bytes, and adds the payload to what is given.
// Of a raw block it adds nothing: the payload is the target itself.
func (c *Coder) Encode(payload []byte, width int, base, target []byte) (Code, []byte) {
	switch width {
	case 2:
		return encode[uint16, int16](c, payload, base, target)
	case 4:
		return encode[uint32, int32](c, payload, base, target)
	case 8:
		return encode[uint64, int64](c, payload, base, target)
	}
	return encode[uint8, int8](c, payload, base, target)
}

// Follow makes base the target, right after Encode has told how they differ and given this code. Where that is little, only what
// changed is written, which takes a tenth of the time of a copy.
func (c *Coder) Follow(code Code, width int, base, target []byte) {
	switch {
	case code == Same:
	case code != Sparse:
		copy(base, target)
	case width == 2:
		follow[uint16](c.gaps, base, target)
	case width == 4:
		follow[uint32](c.gaps, base, target)
	case width == 8:
		follow[uint64](c.gaps, base, target)
	default:
		follow[uint8](c.gaps, base, target)
	}
}

func follow[T element](gaps, base, target []byte) {
	before, after := viewOf[T](base), viewOf[T](target)
	at := -1
	for _, gap := range gaps {
		if at += int(gap); gap != far {
			at++
			before[at] = after[at]
		}
	}
}

func encode[T element, S signed](c *Coder, payload, base, target []byte) (Code, []byte) {
	begun := len(payload)
	elements := len(target) / size[T]()
	found := Sparse
	if c.gaps, c.ulps, c.escapes = c.gaps[:0], c.ulps[:0], c.escapes[:0]; !scan[T, S](c, base, target, elements*sparseShare/100) {
		c.ulps, c.escapes = c.ulps[:0], c.escapes[:0]
		if found = Plane; !plane[T, S](c, base, target) {
			return Raw, payload
		}
	}
	if len(c.ulps) == 0 {
		return Same, payload
	}
	if found == Sparse {
		payload = c.huffman.append(payload, c.gaps)
	}
	payload = append(c.huffman.append(payload, c.ulps), c.escapes...)
	if len(payload)-begun > len(target)*rawShare/100 {
		return Raw, payload[:begun]
	}
	return found, payload
}

// scan notes what changed, unless that is more than limit. What did not is passed by in steps of 32 bytes: one such step in seven
// has a change where a hundredth of the elements of 16 bits has.
func scan[T element, S signed](c *Coder, base, target []byte, limit int) bool {
	olds, news := viewOf[uint64](base), viewOf[uint64](target)
	olds = olds[:len(news)]
	s := scanner[T, S]{c: c, per: 8 / size[T](), last: -1}
	i := 0
	for ; i+4 <= len(news); i += 4 {
		a, b := olds[i:i+4:i+4], news[i:i+4:i+4]
		if (a[0]^b[0])|(a[1]^b[1])|(a[2]^b[2])|(a[3]^b[3]) == 0 {
			continue
		}
		for k := range a {
			s.word(i+k, a[k], b[k])
		}
		if len(c.ulps) > limit {
			return false
		}
	}
	for ; i < len(news); i++ {
		s.word(i, olds[i], news[i])
	}
	before, after := viewOf[T](base), viewOf[T](target)
	for e := i * s.per; e < len(after); e++ {
		if before[e] != after[e] {
			s.change(e, before[e], after[e])
		}
	}
	return len(c.ulps) <= limit
}

// scanner is a scan under way.
type scanner[T element, S signed] struct {
	c    *Coder
	per  int // elements in a word
	last int // element that changed last
}

// word looks at the elements of the i-th word.
func (s *scanner[T, S]) word(i int, before, after uint64) {
	width := 8 * size[T]()
	for changed := before ^ after; changed != 0; {
		shift := bits.TrailingZeros64(changed) / width * width
		s.change(i*s.per+shift/width, T(before>>shift), T(after>>shift))
		changed &^= uint64(^T(0)) << shift
	}
}

func (s *scanner[T, S]) change(at int, before, after T) {
	gap := at - s.last - 1
	s.last = at
	for ; gap >= far; gap -= far {
		s.c.gaps = append(s.c.gaps, far)
	}
	s.c.gaps = append(s.c.gaps, byte(gap))
	ulp := difference[T, S](before, after)
	if s.c.ulps = append(s.c.ulps, ulp); ulp == escape {
		s.c.escapes = append(s.c.escapes, bytesOf([]T{after})...)
	}
}

// difference is in ulps, and [escape] where that is no int8.
func difference[T element, S signed](before, after T) byte {
	ulps := ordered[T, S](after) - ordered[T, S](before)
	if ulps+127 > 254 {
		return escape
	}
	return byte(ulps)
}

// planeLook is after how many elements a plane is given up if too many changed.
const planeLook = 16 << 10

// plane notes how each element changed, unless too many did. Which do cannot be foreseen, so there is no branch on it.
func plane[T element, S signed](c *Coder, base, target []byte) bool {
	before, after := viewOf[T](base), viewOf[T](target)
	before = before[:len(after)]
	if cap(c.ulps) < len(after) {
		c.ulps = make([]byte, len(after))
	}
	c.ulps = c.ulps[:len(after)]
	ulps := c.ulps
	limit, changed := len(after)*planeShare/100, 0
	for begin := 0; begin < len(after); begin += planeLook {
		end := min(begin+planeLook, len(after))
		for i := begin; i < end; i++ {
			ulp := difference[T, S](before[i], after[i])
			ulps[i] = ulp
			changed += (int(ulp) + 0xff) >> 8 // 1 but for 0
			if ulp == escape {
				c.escapes = append(c.escapes, bytesOf([]T{after[i]})...)
			}
		}
		if changed > limit {
			return false
		}
	}
	return true
}
