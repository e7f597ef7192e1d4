package params

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// TestRows reads rows of many shapes out of a tensor of several blocks, with and without layers, and compares them with the tensor.
func TestRows(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	h := newHistory(1_700_000)
	mustSave(t, s, "m", h.versions[0], fromLatest)
	mustSave(t, s, "m", h.step(8), fromLatest)
	rng := rand.New(rand.NewPCG(3, 4))
	for i, ref := range []string{"1", "2"} {
		v, err := s.Open("m", ref)
		if err != nil {
			t.Fatal(err)
		}
		data := h.versions[i][2].Data
		for range 60 {
			r, offset := someRows(rng, int64(len(data)))
			if err := compareRows(v, data, offset, r, rng.IntN(2) == 0); err != nil {
				t.Fatalf("version %s, from %d, %+v: %v", ref, offset, r, err)
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// someRows are any that lie in so many bytes: narrow and wide, close to each other and many blocks apart.
func someRows(rng *rand.Rand, size int64) (r Rows, offset int64) {
	r.Length = 1 + rng.Int64N(1<<rng.IntN(21))
	r.Step = r.Length + rng.Int64N(1<<rng.IntN(22))
	offset = rng.Int64N(size - r.Length)
	r.Count = 1 + rng.Int64N(min(2000, (size-offset-r.Length)/r.Step+1))
	r.Into = r.Length + rng.Int64N(5)
	return r, offset
}

func compareRows(v *Weights, data []byte, offset int64, r Rows, verify bool) error {
	size, err := r.Size()
	if err != nil {
		return err
	}
	into, want := bytes.Repeat([]byte{7}, int(size)), bytes.Repeat([]byte{7}, int(size))
	for row := range r.Count {
		copy(want[row*r.Into:][:r.Length], data[offset+row*r.Step:])
	}
	if err := v.Load([]Want{{Tensor: 2, Offset: offset, Into: into, Rows: r}}, verify); err != nil {
		return err
	}
	if !bytes.Equal(into, want) {
		return errors.New("the rows are others, or what is between them was written to")
	}
	return nil
}

func TestRowsThatAreNone(t *testing.T) {
	s := opened(t, t.TempDir(), nil)
	mustSave(t, s, "m", []Tensor{tensorOf("w", make([]byte, 100))}, SaveOptions{})
	v, err := s.Open("m", Latest)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for says, w := range map[string]Want{
		"0 rows":           {Into: make([]byte, 3), Rows: Rows{Length: 3}},
		"of 0 bytes":       {Rows: Rows{Count: 1}},
		"overlap":          {Into: make([]byte, 20), Rows: Rows{Count: 2, Length: 10, Step: 9, Into: 10}},
		"in memory":        {Into: make([]byte, 19), Rows: Rows{Count: 2, Length: 10, Step: 10, Into: 9}},
		"too many":         {Into: make([]byte, 10), Rows: Rows{Count: 1 << 60, Length: 10, Step: 100, Into: 10}},
		"not go to memory": {Into: make([]byte, 19), Rows: Rows{Count: 2, Length: 10, Step: 10, Into: 10}},
		"100 bytes":        {Into: make([]byte, 20), Offset: 1, Rows: Rows{Count: 2, Length: 10, Step: 90, Into: 10}},
		"from -1 on":       {Into: make([]byte, 20), Offset: -1, Rows: Rows{Count: 2, Length: 10, Step: 20, Into: 10}},
	} {
		if err := v.Load([]Want{w}, true); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", says, err)
		} else {
			wantContains(t, err, says)
		}
	}
}
