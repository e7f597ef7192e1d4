package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/persisting/persisting/engine"
)

func compressorOf(t *testing.T, name string) *Compressor {
	t.Helper()
	c, err := NewCompressor(name)
	must(t, err)
	return c
}

func TestBodiesComeBackFromTheirCompressedForm(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	text := []byte(strings.Repeat("the cart falls over, the pole with it. ", 3000))
	bodies := map[string]struct {
		body    [][]byte
		smaller bool
	}{
		"empty":          {body: nil},
		"short":          {body: [][]byte{bytes.Repeat([]byte("a"), minCompressed-5)}},
		"noise":          {body: [][]byte{noise}},
		"noise in parts": {body: [][]byte{noise[:10], noise[10:]}},
		"text":           {body: [][]byte{text}, smaller: true},
		"text in parts":  {body: [][]byte{text[:1], text[1:70000], text[70000:]}, smaller: true},
		"zeros":          {body: [][]byte{make([]byte, 3<<20)}, smaller: true},
		"a little":       {body: [][]byte{text[:minCompressed]}, smaller: true},
	}
	for _, name := range Compressions {
		c := compressorOf(t, name)
		var d decompressor
		defer d.close()
		for what, test := range bodies {
			plain := append([]byte{0xff, 0xff, 0xff, 0xff}, slices.Concat(test.body...)...)
			out := slices.Concat(c.Compress(append([][]byte{plain[:4]}, test.body...))...)
			if smaller := len(out) < len(plain)*7/8; smaller != (test.smaller && name != "none") {
				t.Errorf("%s, %s: %d bytes become %d", name, what, len(plain), len(out))
			}
			back, err := d.decompress(out)
			if err != nil || !bytes.Equal(back, plain) {
				t.Errorf("%s, %s: %d bytes come back as %d: %v", name, what, len(plain), len(back), err)
			}
		}
	}
}

func head(codec byte, length uint64) []byte {
	b := append([]byte(compressedMark), codec)
	return binary.LittleEndian.AppendUint64(b, length)
}

func TestDamagedBodiesAreRefusedBeforeMemoryIsTaken(t *testing.T) {
	var stream bytes.Buffer // a frame that does not say how long it is
	w, err := zstd.NewWriter(&stream)
	must(t, err)
	_, err = w.Write(make([]byte, 1<<10))
	must(t, errors.Join(err, w.Flush(), w.Close()))
	bomb := compressorOf(t, "zstd").zstd.EncodeAll(make([]byte, 64<<20), nil)
	const huge = 1 << 29
	for name, body := range map[string][]byte{
		"no length":              []byte(compressedMark + "\x01\x00"),
		"codec":                  append(head(9, 4), 1, 2, 3, 4),
		"nothing":                head(codecLZ4, huge),
		"more than an entry":     append(head(codecZstd, 1<<40), bomb...),
		"more than LZ4 can hold": append(head(codecLZ4, huge), make([]byte, 1000)...),
		"LZ4 that is none":       append(head(codecLZ4, 1000), bytes.Repeat([]byte{0xff}, 100)...),
		"zstd that is none":      append(head(codecZstd, huge), make([]byte, 100)...),
		"zstd of other length":   append(head(codecZstd, huge), bomb...),
		"a bomb":                 append(head(codecZstd, 100), bomb...),
		"a second frame":         slices.Concat(head(codecZstd, 64<<20), bomb, bomb),
		"zstd without a length":  append(head(codecZstd, huge), stream.Bytes()...),
	} {
		t.Run(name, func(t *testing.T) {
			var d decompressor
			defer d.close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := d.decompress(body)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, engine.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			if taken := after.TotalAlloc - before.TotalAlloc; taken > huge/2 {
				t.Errorf("%d bytes of memory were taken", taken)
			}
		})
	}
}

func TestFlippedBitsOfACompressedBodyDoNoHarm(t *testing.T) {
	plain := []byte(strings.Repeat("reward 0.5, step 17; ", 40))
	for _, name := range Compressions[1:] {
		body := slices.Concat(compressorOf(t, name).Compress([][]byte{plain})...)
		for bit := range len(body) * 8 {
			flipped := slices.Clone(body)
			flipped[bit/8] ^= 1 << (bit % 8)
			var d decompressor
			back, err := d.decompress(flipped)
			if err == nil && len(back) != len(plain) && !bytes.Equal(back, flipped) {
				t.Errorf("%s, bit %d: %d bytes come back", name, bit, len(back))
			}
			d.close()
		}
	}
}
