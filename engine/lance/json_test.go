package lance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// storeJSON puts texts through a table and returns what comes back.
func storeJSON(t *testing.T, texts []string) []string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{jsonField("j")}, nil)
	b := array.NewRecordBuilder(alloc, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues(texts, nil)
	rec := b.NewRecord()
	defer rec.Release()
	table := create(t, schema)
	s := must(t)(table.Append([]arrow.Record{rec}))
	var out []string
	for _, r := range readAll(t, s, 0, int64(len(texts)), nil, 0) {
		column := r.Column(0).(*array.String)
		for i := range column.Len() {
			out = append(out, column.Value(i))
		}
	}
	return out
}

// sameJSON says where two values differ: kinds, members, texts, and numbers with
// their kind (int or float) and sign.
func sameJSON(a, b string) error {
	decode := func(text string) (v any, err error) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	va, err := decode(a)
	if err != nil {
		return err
	}
	vb, err := decode(b)
	if err != nil {
		return err
	}
	return sameValue(va, vb)
}

func sameValue(a, b any) error {
	different := fmt.Errorf("%v is not %v", a, b)
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		if !ok || !sameNumber(string(a), string(b)) {
			return different
		}
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return different
		}
		for i := range a {
			if err := sameValue(a[i], b[i]); err != nil {
				return err
			}
		}
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return different
		}
		for k := range a {
			if _, ok := b[k]; !ok {
				return fmt.Errorf("no key %q", k)
			}
			if err := sameValue(a[k], b[k]); err != nil {
				return err
			}
		}
	default:
		if a != b {
			return different
		}
	}
	return nil
}

func sameNumber(a, b string) bool {
	isFloat := func(s string) bool { return strings.ContainsAny(s, ".eE") }
	if isFloat(a) != isFloat(b) {
		return false
	}
	if !isFloat(a) {
		return a == b || a == "-0" && b == "0"
	}
	fa, erra := strconv.ParseFloat(a, 64)
	fb, errb := strconv.ParseFloat(b, 64)
	return erra == nil && errb == nil && math.Float64bits(fa) == math.Float64bits(fb)
}

func TestJSONValues(t *testing.T) {
	texts := []string{
		`null`, `true`, `false`, `""`, `[]`, `{}`, `[[]]`, `[{}]`, `{"a":{}}`, `{"":0}`, `[null,[],{}]`,
		`0`, `-1`, `9223372036854775807`, `-9223372036854775808`, `18446744073709551615`,
		`0.0`, `-0.0`, `1.0`, `-1.0`, `1.5`, `0.1`, `1e300`, `1E300`, `-1e-300`, `5e-324`, `1.7976931348623157e308`,
		`123456789.123456789`, `0.30000000000000004`, `1e16`, `1e22`, `1.0e2`, `100.0`, `9007199254740993.0`, `1e-7`, `12345678901234567.0`,
		`"\u0000\u001f\"\\\/\b\f\n\r\t"`, `"ünïcödé ☃ 😀"`, `"\ud83d\ude00"`, `"\u007f"`, `"</script>"`, `"\u2028"`,
		`{"b":1,"a":2,"10":3,"9":4}`, `{"a.b":1,"a b":2,"ü":3}`, ` { "a" : [ 1 , 2 ] } `,
		strings.Repeat("[", maxJSONDepth) + strings.Repeat("]", maxJSONDepth), strings.Repeat(`{"a":`, maxJSONDepth-1) + "1" + strings.Repeat("}", maxJSONDepth-1),
		`"` + strings.Repeat("long ", 100_000) + `"`,
	}
	for i, got := range storeJSON(t, texts) {
		if err := sameJSON(texts[i], got); err != nil {
			t.Errorf("%.80s came back as %.80s: %v", texts[i], got, err)
		}
	}
}

// The workers' stacks are smaller than the caller's.
func TestDeepJSONOnWorkers(t *testing.T) {
	deep := strings.Repeat("[", maxJSONDepth) + strings.Repeat("]", maxJSONDepth)
	texts := slices.Repeat([]string{deep}, 6000)
	if got := storeJSON(t, texts); !slices.Equal(got, texts) {
		t.Fatalf("%d values came back, or not all the same", len(got))
	}
}

func TestJSONProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, 3000)
	for i := range texts {
		var b bytes.Buffer
		randomJSON(r, &b, 4)
		texts[i] = b.String()
	}
	bad := 0
	for i, got := range storeJSON(t, texts) {
		if err := sameJSON(texts[i], got); err != nil {
			if bad++; bad < 20 {
				t.Errorf("%.200s came back as %.200s: %v", texts[i], got, err)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d values differ", bad, len(texts))
	}
}

func randomJSON(r *rand.Rand, b *bytes.Buffer, depth int) {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch r.IntN(kinds) {
	case 0:
		b.WriteString([]string{"null", "true", "false"}[r.IntN(3)])
	case 1:
		fmt.Fprint(b, int64(r.Uint64())>>r.IntN(64))
	case 2:
		fmt.Fprint(b, r.Uint64())
	case 3: // as Python writes a float
		f := math.Float64frombits(r.Uint64())
		for math.IsNaN(f) || math.IsInf(f, 0) {
			f = r.NormFloat64()
		}
		text := strconv.FormatFloat(f, 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		b.WriteString(text)
	case 4:
		f := float64(r.IntN(2000)-1000) / math.Pow10(r.IntN(5))
		text := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		b.WriteString(text)
	case 5:
		writeText(r, b)
	case 6:
		b.WriteByte('[')
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteByte(',')
			}
			randomJSON(r, b, depth-1)
		}
		b.WriteByte(']')
	case 7:
		b.WriteByte('{')
		seen := map[string]bool{}
		for range r.IntN(6) {
			var key bytes.Buffer
			writeText(r, &key)
			if seen[key.String()] {
				continue
			}
			if len(seen) > 0 {
				b.WriteByte(',')
			}
			seen[key.String()] = true
			b.Write(key.Bytes())
			b.WriteByte(':')
			randomJSON(r, b, depth-1)
		}
		b.WriteByte('}')
	}
}

func writeText(r *rand.Rand, b *bytes.Buffer) {
	var s []rune
	for range r.IntN(8) {
		limit := []int{0x20, 0x80, 0x800, 0xd800, 0x10ffff}[r.IntN(5)]
		c := rune(r.IntN(limit))
		if c >= 0xd800 && c < 0xe000 {
			c = 'x'
		}
		s = append(s, c)
	}
	text, err := json.Marshal(string(s))
	if err != nil {
		panic(err)
	}
	b.Write(text)
}

func TestCheckJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for text, says := range map[string]string{
		``: "not JSON", ` `: "not JSON", `{`: "not JSON", `[1,]`: "not JSON", `[,1]`: "not JSON", `{"a"}`: "not JSON",
		`{"a":1,}`: "not JSON", `{a:1}`: "not JSON", `{'a':1}`: "not JSON", `nul`: "not JSON", `"a`: "not JSON",
		"\"a\nb\"": "not JSON", `"\x00"`: "not JSON", `"\u12"`: "not JSON", `01`: "not JSON", `-01`: "not JSON", `+1`: "not JSON",
		`.5`: "not JSON", `5.`: "not JSON", `-`: "not JSON", `1e`: "not JSON", `0x10`: "more than one", `NaN`: "not JSON",
		`Infinity`: "not JSON", `-Infinity`: "not JSON", `[NaN]`: "not JSON", `// c`: "not JSON", `1 2`: "more than one", `{}}`: "more than one",
		"\"\xff\"": "not UTF-8", `"\`: "not JSON",
		`18446744073709551616`: "beyond 64 bits", `-9223372036854775809`: "beyond 64 bits", `1e400`: "beyond a float", `-1e309`: "beyond a float",
		`"\ud800"`: "surrogate", `"\udc00x"`: "surrogate", `"\ud800\ud800\udc00"`: "surrogate", `{"\udfff":1}`: "surrogate",
		`{"a":1,"a":2}`: "twice", `{"a":1,"b":2,"\u0061":2}`: "twice", `[{"x":{"":1,"":2}}]`: "twice", deep(300): "levels",

		`0`: "", `-0`: "", `-5`: "", `1234567890123456789`: "", `18446744073709551615`: "", `-9223372036854775808`: "", `1e-400`: "", `-0.0`: "",
		`"\ud83d\ude00"`: "", `"\\ud800"`: "", `"\\\ud83d\ude00"`: "", `"\ufffd"`: "", `"�"`: "", deep(256): "", ` [ { } , null ] `: "",
	} {
		err := CheckJSON(text)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%.60s: %v, want %q", text, err, says)
		}
	}
}

// What is refused deep inside a batch is named.
func TestCheckValues(t *testing.T) {
	for path, c := range map[string]struct {
		field  arrow.Field
		values string
	}{
		"x":       {jsonField("x"), `["1", null, "nope"]`},
		"x[]":     {arrow.Field{Name: "x", Type: arrow.ListOfField(jsonField("item"))}, `[["1"], ["nope"]]`},
		"x.a[].b": {arrow.Field{Name: "x", Type: arrow.StructOf(arrow.Field{Name: "a", Type: arrow.ListOf(arrow.StructOf(jsonField("b")))})}, `[{"a": [{"b": "nope"}]}]`},
	} {
		x, _, err := array.FromJSON(alloc, c.field.Type, strings.NewReader(c.values))
		if err != nil {
			t.Fatal(err)
		}
		schema := arrow.NewSchema([]arrow.Field{c.field}, nil)
		rec := array.NewRecord(schema, []arrow.Array{x}, int64(x.Len()))
		table := create(t, schema)
		for _, err := range []error{CheckValues(rec), func() error { _, err := table.Append([]arrow.Record{rec}); return err }()} {
			if !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "column "+path+": ") {
				t.Errorf("%s: %v", path, err)
			}
		}
		rec.Release()
		x.Release()
	}
}

// Whatever passes the check comes back the same; so does what JSON allows to be
// as deep as that.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x"]}`, `-0.0`, `"\u0000"`, `[[[]]]`, `1e5`} {
		f.Add(s)
	}
	schema := arrow.NewSchema([]arrow.Field{jsonField("j")}, nil)
	table, err := Create(f.TempDir()+"/t.lance", schema, Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = table.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		if CheckJSON(text) != nil {
			return
		}
		b := array.NewRecordBuilder(alloc, schema)
		defer b.Release()
		b.Field(0).(*array.StringBuilder).Append(text)
		rec := b.NewRecord()
		defer rec.Release()
		s := must(t)(table.Append([]arrow.Record{rec}))
		got, err := s.Take([]int64{s.NextRowID() - 1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Release()
		if err := sameJSON(text, got.Column(0).(*array.String).Value(0)); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
