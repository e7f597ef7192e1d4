package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// weights are bf16 numbers as a layer has, at an odd address.
func weights(rng *rand.Rand, count int) []byte {
	memory := make([]byte, 2*count+1)[1:]
	for i := range count {
		bits := math.Float32bits(float32(rng.NormFloat64() * 0.02))
		binary.LittleEndian.PutUint16(memory[2*i:], uint16(bits>>16))
	}
	return memory
}

// stepped changes about so many of 1000 elements of 16 bits, nine in ten by one unit of the last place.
func stepped(rng *rand.Rand, base []byte, share int) []byte {
	target := bytes.Clone(base)
	for i := 0; i+2 <= len(target); i += 2 {
		if rng.IntN(1000) >= share {
			continue
		}
		bits := binary.LittleEndian.Uint16(target[i:])
		switch rng.IntN(10) {
		case 0:
			bits += uint16(rng.IntN(9))
		default:
			bits += uint16(1 - 2*rng.IntN(2))
		}
		binary.LittleEndian.PutUint16(target[i:], bits)
	}
	return target
}

// roundTrip encodes and applies, and returns what the code was and how long the payload.
func roundTrip(t testing.TB, c *Coder, width int, base, target []byte) (Code, int) {
	t.Helper()
	code, payload := c.Encode([]byte("before"), width, base, target)
	if !bytes.HasPrefix(payload, []byte("before")) {
		t.Fatal("what was there is gone")
	}
	if payload = payload[6:]; code == Raw {
		payload = target
	}
	block := append(make([]byte, 1, len(base)+1), base...)[1:]
	if _, err := Apply(width, []Layer{{code, payload}}, block); err != nil {
		t.Fatalf("code %d, width %d: %v", code, width, err)
	}
	if !bytes.Equal(block, target) {
		t.Fatalf("code %d, width %d: another target came back", code, width)
	}
	kept := append(make([]byte, 1, len(base)+1), base...)[1:]
	if c.Follow(code, width, kept, target); !bytes.Equal(kept, target) {
		t.Fatalf("code %d, width %d: the base did not follow", code, width)
	}
	return code, len(payload)
}

// TestLayers applies many at once, of all codes, to blocks of many windows: the last target comes back. One that makes no sense is
// told by its number.
func TestLayers(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	c := new(Coder)
	for _, shares := range [][]int{{8}, {8, 0, 8, 8, 8, 8, 8, 8}, {300, 8, 400}, {8, 900, 8}, {900}, {8, 300, 900, 900, 0}, {1, 1}} {
		for _, elements := range []int{1<<19 - 32, 1 << 19, 100_001, 32 << 10, 7} {
			base := weights(rng, elements)
			block, target := bytes.Clone(base), base
			var layers []Layer
			for _, share := range shares {
				next := stepped(rng, target, share)
				code, payload := c.Encode(nil, 2, target, next)
				if code == Raw {
					payload = next
				}
				layers, target = append(layers, Layer{code, payload}), next
			}
			if _, err := Apply(2, layers, block); err != nil || !bytes.Equal(block, target) {
				t.Fatalf("%d elements, %v: %v", elements, shares, err)
			}
			last := len(layers) - 1
			layers[last].Payload = append(bytes.Clone(layers[last].Payload), 1, 2)
			if bad, err := Apply(2, layers, block); !errors.Is(err, ErrPayload) || bad != last {
				t.Fatalf("%d elements, %v: layer %d is said to be wrong, want %d: %v", elements, shares, bad, last, err)
			}
		}
	}
}

// TestShares changes more and more: each code is taken where it is the one, and is as small as the package says.
func TestShares(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := new(Coder)
	base := weights(rng, 1<<19)
	for _, test := range []struct {
		share int
		code  Code
		most  float64 // of the block
	}{
		{0, Same, 0},
		{1, Sparse, 0.0012},
		{8, Sparse, 0.0064},
		{50, Sparse, 0.026},
		{180, Sparse, 0.065},
		{300, Plane, 0.098},
		{580, Plane, 0.15},
		{700, Raw, 1},
		{1000, Raw, 1},
	} {
		code, length := roundTrip(t, c, 2, base, stepped(rng, base, test.share))
		if code != test.code || float64(length) > test.most*float64(len(base)) {
			t.Errorf("%d of 1000 changed: code %d and %.2f %%, want %d and %.2f %%", test.share, code,
				100*float64(length)/float64(len(base)), test.code, 100*test.most)
		}
	}
}

// TestOddBits has every pair of odd numbers follow each other, in every width: all bits come back.
func TestOddBits(t *testing.T) {
	odd := []uint64{
		0, 1 << 63, 1, 1<<63 | 1, math.Float64bits(math.Inf(1)), math.Float64bits(math.Inf(-1)), 0x7ff8000000000001, 0xfff0000000000001,
		math.MaxUint64, math.MaxInt64, math.Float64bits(1), math.Float64bits(-1), 0x0080, 0x8000, 0xffff, 0x7f80, 0x7fc1, 0xff81, 0x80000000, 0x7fc00001,
	}
	c := new(Coder)
	for width := 1; width <= 8; width *= 2 {
		var base, target []byte
		for _, before := range odd {
			for _, after := range odd {
				for _, shift := range []int{0, 64 - 8*width} {
					quiet := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, before), 100)
					base = append(append(base, binary.LittleEndian.AppendUint64(nil, before>>shift)[:width]...), quiet...)
					target = append(append(target, binary.LittleEndian.AppendUint64(nil, after>>shift)[:width]...), quiet...)
				}
			}
		}
		if code, _ := roundTrip(t, c, width, base, target); code != Sparse {
			t.Errorf("width %d: code %d", width, code)
		}
		if code, _ := roundTrip(t, c, width, target, base); code != Sparse {
			t.Errorf("width %d: code %d on the way back", width, code)
		}
	}
}

// TestSizes codes blocks of all short lengths and some others, changed in all densities and widths.
func TestSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	c := new(Coder)
	seen := map[string]int{}
	for round := range 4000 {
		width := 1 << rng.IntN(4)
		length := round % 300 * width
		if round%10 == 0 {
			length = rng.IntN(20_000) * width
		}
		base, target := make([]byte, length), make([]byte, length)
		density := rng.IntN(100)
		for i := range base {
			base[i] = byte(rng.Uint32())
			if target[i] = base[i]; rng.IntN(100) < density*density/100 {
				target[i] += byte(rng.IntN(5))
			}
		}
		code, _ := roundTrip(t, c, width, base, target)
		seen[fmt.Sprint(code, width)]++
	}
	if len(seen) != 16 {
		t.Errorf("not every code came in every width: %v", seen)
	}
}

func TestOrder(t *testing.T) {
	last := uint16(0)
	for i := range 1 << 16 {
		if got := ordered[uint16, int16](uint16(i)); unordered[uint16, int16](got) != uint16(i) {
			t.Fatalf("%#x comes back as %#x", i, unordered[uint16, int16](got))
		}
	}
	for i, value := range []float32{float32(math.Inf(-1)), -1, -1e-30, float32(math.Copysign(0, -1)), 0, 1e-30, 1, float32(math.Inf(1))} {
		bits := ordered[uint16, int16](uint16(math.Float32bits(value) >> 16))
		if i > 0 && bits <= last {
			t.Errorf("%v is not above what is below it", value)
		}
		last = bits
	}
}

// TestLanes moves elements four at a time as it moves one.
func TestLanes(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	odd := []uint16{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x7f80, 0xff80, 0x00ff, 0xff00}
	for range 200_000 {
		var lanes, want uint64
		var ulps uint32
		for lane := range 4 {
			bits, ulp := odd[rng.IntN(len(odd))]+uint16(rng.IntN(3)), int8(rng.IntN(255)-127)
			lanes |= uint64(bits) << (16 * lane)
			ulps |= uint32(uint8(ulp)) << (8 * lane)
			want |= uint64(unordered[uint16, int16](ordered[uint16, int16](bits)+uint16(ulp))) << (16 * lane)
		}
		if got := moved(lanes, ulps); got != want {
			t.Fatalf("%#x by %#x is %#x, want %#x", lanes, ulps, got, want)
		}
		eight := uint64(ulps)<<32 | uint64(ulps)
		if hasEscape(eight) {
			t.Fatalf("%#x has no escape", eight)
		}
		at := 8 * rng.IntN(8)
		if eight = eight&^(0xff<<at) | escape<<at; !hasEscape(eight) {
			t.Fatalf("%#x has an escape", eight)
		}
	}
}

func TestWidth(t *testing.T) {
	for dtype, want := range map[string]int{"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "I32": 1, "F8_E4M3": 1, "ml_dtypes.int4": 1} {
		if got := Width(dtype, 800); got != want {
			t.Errorf("%s: %d, want %d", dtype, got, want)
		}
	}
	if got := Width("F32", 801); got != 1 {
		t.Errorf("a length that is no number of elements: %d", got)
	}
}

// FuzzApply takes any payload: it is refused, or stays within its block.
func FuzzApply(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	c := new(Coder)
	base := weights(rng, 1000)
	for _, share := range []int{0, 10, 100, 400, 900} {
		code, payload := c.Encode(nil, 2, base, stepped(rng, base, share))
		f.Add(byte(code), byte(2), payload)
	}
	f.Add(byte(9), byte(3), []byte("payload"))
	f.Fuzz(func(t *testing.T, code, width byte, payload []byte) {
		memory := bytes.Repeat([]byte{0xa5}, 2100)
		if _, err := Apply(int(width), []Layer{{Code(code), payload}}, memory[50:2050:2050]); err != nil && !errors.Is(err, ErrPayload) {
			t.Fatal(err)
		}
		for i, b := range memory {
			if (i < 50 || i >= 2050) && b != 0xa5 {
				t.Fatalf("byte %d beside the block was written to", i)
			}
		}
	})
}

// TestDamage changes each byte of payloads: none is a panic, and most are refused.
func TestDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	c := new(Coder)
	base := weights(rng, 3000)
	for _, share := range []int{20, 400} {
		code, payload := c.Encode(nil, 2, base, stepped(rng, base, share))
		for i := range payload {
			changed := bytes.Clone(payload)
			changed[i] ^= byte(1 + rng.IntN(255))
			if _, err := Apply(2, []Layer{{code, changed}}, bytes.Clone(base)); err != nil && !errors.Is(err, ErrPayload) {
				t.Fatal(err)
			}
		}
		for i := range payload {
			if _, err := Apply(2, []Layer{{code, payload[:i]}}, bytes.Clone(base)); !errors.Is(err, ErrPayload) {
				t.Fatalf("code %d, %d of %d bytes: %v", code, i, len(payload), err)
			}
		}
	}
}

func BenchmarkBlock(b *testing.B) {
	rng := rand.New(rand.NewPCG(9, 10))
	base := weights(rng, 1<<19)
	for _, share := range []int{0, 1, 8, 30, 100, 300} {
		target := stepped(rng, base, share)
		c := new(Coder)
		code, payload := c.Encode(nil, 2, base, target)
		b.Run(fmt.Sprintf("encode/%d", share), func(b *testing.B) {
			b.SetBytes(int64(len(base)))
			for b.Loop() {
				c.Encode(payload[:0], 2, base, target)
			}
			b.ReportMetric(100*float64(len(payload))/float64(len(base)), "%")
		})
		b.Run(fmt.Sprintf("apply/%d", share), func(b *testing.B) {
			b.SetBytes(int64(len(base)))
			block, layers := bytes.Clone(base), []Layer{{code, payload}}
			for b.Loop() {
				if _, err := Apply(2, layers, block); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
