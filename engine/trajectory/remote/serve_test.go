package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/persisting/persisting/engine/memory"
	"github.com/persisting/persisting/engine/trajectory"
	"github.com/persisting/persisting/engine/wire"
)

var steps = arrow.NewSchema([]arrow.Field{
	{Name: "version", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
}, nil)

// serve serves a store with one episode of some steps.
func serve(t testing.TB) (*trajectory.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := trajectory.Open(filepath.Join(dir, "store"), trajectory.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.Allocator, steps)
	defer b.Release()
	for i := range 8 {
		b.Field(0).(*array.Int32Builder).Append(1)
		b.Field(1).(*array.Float64Builder).Append(float64(i))
	}
	rec := b.NewRecord()
	defer rec.Release()
	number, _, err := s.Begin(trajectory.Identity{ID: "one"})
	if err == nil {
		_, err = s.Append(number, 0, rec, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	numbers := func(error) (int32, int64) { return 7, 0 }
	v, err := Serve(s, wire.Options{Socket: filepath.Join(dir, "sock")}, numbers, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(v.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, filepath.Join(dir, "sock")
}

// dial greets a server.
func dial(t testing.TB, socket string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	hello := append([]byte(wireMagic), wireVersion, 0, 0, 0, 0, 0, 0, 0)
	if _, err := c.Write(hello); err != nil {
		t.Fatal(err)
	}
	welcome := make([]byte, wire.HelloBytes)
	if _, err := io.ReadFull(c, welcome); err != nil || !bytes.Equal(welcome, hello) {
		t.Fatalf("% x, %v", welcome, err)
	}
	return c
}

// call is the frame of one.
func call(text string, content []byte) []byte {
	b := append(le.AppendUint32(nil, uint32(len(text))), text...)
	f := wire.Frame{Op: opCall, ID: 1, Content: append(b, content...)}
	return f.Encode(nil)
}

// ask returns the status of an answer and all of its content.
func ask(t testing.TB, c net.Conn, request []byte) (status uint8, content []byte) {
	t.Helper()
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	var buffer []byte
	for status = statusMore; status == statusMore; {
		f, err := wire.ReadFrame(c, &buffer, maxFrameBytes)
		if err != nil {
			t.Fatal(err)
		}
		status, content = f.Status, append(content, f.Content...)
	}
	return status, content
}

func TestAnAnswerInPieces(t *testing.T) {
	_, socket := serve(t)
	c := dial(t, socket)
	offsets := bytes.Repeat(le.AppendUint64(nil, 3), 100_000)
	status, content := ask(t, c, call(`{"verb": "are_steps", "count": 100000}`, offsets))
	if want := 4 + len(`{}`) + 100_000; status != statusLast || len(content) != want || content[want-1] != 1 {
		t.Errorf("status %d, %d bytes, want %d", status, len(content), want)
	}
	status, content = ask(t, c, call(`{"verb": "take", "count": 100000}`, offsets))
	r, err := ipc.NewReader(bytes.NewReader(content[6:]))
	if status != statusLast || err != nil {
		t.Fatalf("status %d, %v", status, err)
	}
	defer r.Release()
	rows := int64(0)
	for r.Next() {
		rows += r.Record().NumRows()
	}
	if rows != 100_000 || r.Err() != nil {
		t.Errorf("%d rows, %v", rows, r.Err())
	}
}

func TestFailuresLeaveTheConnection(t *testing.T) {
	_, socket := serve(t)
	c := dial(t, socket)
	for _, request := range []string{
		`{"verb": "describe", "id": "nobody"}`, `{"verb": "begin"}`, `{"verb": "read", "number": -1}`, `{"verb": "finish", "ending": [1]}`,
		`{"verb": "finish", "ending": {"metadata": 1}}`, `{"verb": "steps", "query": {"filter": "no"}}`, `{"verb": "close_lost", "idle_ms": -1}`,
		`{"verb": "ack", "number": 5}`, `{"verb": "restore", "name": "none"}`, `{"verb": "sampler", "law": {}}`,
	} {
		status, content := ask(t, c, call(request, nil))
		var told failure
		if err := json.Unmarshal(content, &told); status != statusFailed || err != nil || told.Code != 7 || told.Message == "" {
			t.Errorf("%s: status %d, %s, %v", request, status, content, err)
		}
	}
	if status, _ := ask(t, c, call(`{"verb": "stats"}`, nil)); status != statusLast {
		t.Errorf("stats: %d", status)
	}
}

func TestTheSheetOfAClientThatIsGone(t *testing.T) {
	s, socket := serve(t)
	c := dial(t, socket)
	var columns bytes.Buffer
	if err := ipc.NewWriter(&columns, ipc.WithSchema(steps)).Close(); err != nil {
		t.Fatal(err)
	}
	status, content := ask(t, c, call(`{"verb": "sheet", "rows": 4, "heap": 0}`, columns.Bytes()))
	if status != statusLast {
		t.Fatal(string(content))
	}
	end := 4 + le.Uint32(content)
	sheet := content[end:]
	const first, count = 72, 80 // see package sheet
	cells := le.Uint64(sheet[56:])
	le.PutUint64(sheet[first:], 8)
	le.PutUint64(sheet[count:], 1)
	sheet[cells] = 1
	if status, content := ask(t, c, call(`{"verb": "ask"}`, nil)); status != statusLast {
		t.Fatal(string(content))
	}
	for range 2 { // the same again is passed over
		if status, content := ask(t, c, call(`{"verb": "send"}`, sheet)); status != statusLast {
			t.Fatal(string(content))
		}
		if n := s.Stats().Steps; n != 9 {
			t.Errorf("there are %d steps, want 9", n)
		}
	}
	if status, content := ask(t, c, call(`{"verb": "send"}`, sheet[:100])); status != statusFailed {
		t.Errorf("half a sheet: %d, %s", status, content)
	}
	if status, content := ask(t, c, call(`{"verb": "end"}`, nil)); status != statusLast {
		t.Errorf("end: %s", content)
	}
}

func TestWhatIsAskedOfASampler(t *testing.T) {
	_, socket := serve(t)
	c := dial(t, socket)
	law := `{"order": "uniform", "length": 1, "stride": 1, "columns": ["x"], "where": "x < 3", "limit": {"least": 20}}`
	if status, content := ask(t, c, call(`{"verb": "sampler", "law": `+law+`}`, nil)); status != statusLast {
		t.Fatal(string(content))
	}
	for request, want := range map[string]uint8{
		`{"verb": "refresh"}`:                   statusLast,
		`{"verb": "wait", "count": 1}`:          statusFailed, // there are 8 steps
		`{"verb": "wait_for_room", "count": 1}`: statusLast,
		`{"verb": "wait_for_room", "count": 0}`: statusFailed,
	} {
		if status, content := ask(t, c, call(request, nil)); status != want {
			t.Errorf("%s: status %d, %s", request, status, content)
		}
	}
}

// FuzzServer sends a server what no client would.
func FuzzServer(f *testing.F) {
	for verb := range verbs {
		for _, more := range []string{``, `, "count": 1`, `, "count": -1`, `, "query": {}`, `, "law": {"order": "uniform", "length": 1, "stride": 1}`} {
			f.Add(call(fmt.Sprintf(`{"verb": %q%s}`, verb, more), nil))
			f.Add(call(fmt.Sprintf(`{"verb": %q%s}`, verb, more), make([]byte, 8)))
		}
	}
	sample := wire.Frame{Op: opSample, Content: make([]byte, sampleBytes)}
	f.Add(sample.Encode(nil))
	f.Add([]byte{255, 255, 255, 255, 1})
	_, socket := serve(f)
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := dial(t, socket)
		if _, err := c.Write(sent); err != nil {
			return // it was thrown out before the end
		}
		if err := c.(*net.UnixConn).CloseWrite(); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c)
		if status, _ := ask(t, dial(t, socket), call(`{"verb": "stats"}`, nil)); status != statusLast {
			t.Fatal("the server is not well afterwards")
		}
	})
}
