package logs

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"
)

// take returns what is in the queue.
func take(q *Queue) ([]Message, int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	return q.Next(ctx)
}

func TestMessagesComeWithWhatTheySay(t *testing.T) {
	q := NewQueue()
	logger := q.Logger("engine").With("bucket", "/a")
	began := time.Now().UnixNano()
	logger.Warn("warned", "rows", 3, "took", 1500*time.Millisecond, "error", errors.New("broken"), "ok", true, "share", 0.5)
	logger.With("component", "wal").WithGroup("file").Error("failed", "name", "x")
	messages, _ := take(q)
	if len(messages) != 2 {
		t.Fatalf("%d messages", len(messages))
	}
	for i := range messages {
		if m := &messages[i]; m.Time < began || m.Time > time.Now().UnixNano() {
			t.Errorf("time %d", m.Time)
		}
		messages[i].Time = 0
	}
	want := []Message{
		{Level: 30, Component: "engine", Text: "warned", Log: true, Attrs: map[string]any{
			"bucket": "/a", "rows": int64(3), "took": 1.5, "error": "broken", "ok": true, "share": 0.5,
		}},
		{Level: 40, Component: "wal", Text: "failed", Log: true, Attrs: map[string]any{"bucket": "/a", "file.name": "x"}},
	}
	if !reflect.DeepEqual(messages, want) {
		t.Errorf("have %+v\nwant %+v", messages, want)
	}
}

func TestLevelsAreThoseOfTheComponent(t *testing.T) {
	q := NewQueue()
	engine := q.Logger("engine")
	wal := engine.With("component", "wal")
	if engine.Enabled(context.Background(), slog.LevelInfo) || !engine.Enabled(context.Background(), slog.LevelWarn) {
		t.Error("the level is not that of warnings at first")
	}
	if err := q.SetLevels(map[string]int64{"engine": 10, "wal": 50}, false); err != nil {
		t.Fatal(err)
	}
	engine.Debug("a")
	wal.Error("b")
	if messages, _ := take(q); len(messages) != 1 || messages[0].Text != "a" || messages[0].Level != 10 {
		t.Errorf("%+v", messages)
	}
	if err := q.SetLevels(map[string]int64{"engine": 20, "no": 20}, true); err == nil {
		t.Error("an unknown component was taken")
	}
	if wal.Enabled(context.Background(), slog.LevelError) {
		t.Error("levels that were refused have an effect")
	}
}

func TestTracedWorkComesWhateverItsLevel(t *testing.T) {
	q := NewQueue()
	if err := q.SetLevels(nil, true); err != nil {
		t.Fatal(err)
	}
	logger := q.Logger("engine")
	logger.Debug("flush done", "operation", "flush", "took", time.Second)
	logger.Debug("flush done", "operation", "flush", "asked", true, "took", time.Second)
	logger.Debug("nothing of note")
	logger.Error("flush failed", "operation", "flush", "asked", false, "took", time.Second)
	logger.Error("flush failed", "operation", "flush", "asked", true, "took", time.Second)
	messages, _ := take(q)
	if len(messages) != 3 || messages[0].Log || !messages[0].Span || !messages[1].Log || !messages[1].Span || messages[2].Span {
		t.Errorf("%+v", messages)
	}
}

func TestAFullQueueDropsAndCounts(t *testing.T) {
	q := NewQueue()
	logger := q.Logger("engine")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range Capacity {
				logger.Error("x")
			}
		})
	}
	all.Wait()
	messages, dropped := take(q)
	if len(messages) != Capacity || dropped != 3*Capacity || q.Dropped() != dropped {
		t.Errorf("%d messages, %d dropped, %d in all", len(messages), dropped, q.Dropped())
	}
	logger.Error("y")
	if messages, dropped = take(q); len(messages) != 1 || dropped != 0 {
		t.Errorf("%d messages, %d dropped", len(messages), dropped)
	}
}

func TestNextWaits(t *testing.T) {
	q := NewQueue()
	go func() {
		time.Sleep(10 * time.Millisecond)
		q.Logger("server").Error("x")
	}()
	if messages, _ := q.Next(context.Background()); len(messages) != 1 {
		t.Errorf("%v", messages)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if messages, dropped := q.Next(ctx); len(messages) > 0 || dropped > 0 {
		t.Errorf("%v, %d dropped", messages, dropped)
	}
}

func TestEveryValueCanBeWritten(t *testing.T) {
	q := NewQueue()
	q.Logger("engine").Error("x", "nan", math.NaN(), "inf", math.Inf(1), "f", func() {}, "bytes", []byte{255}, "nil", nil, "time", time.Now(), "group", slog.GroupValue(slog.Int("a", 1)))
	messages, _ := take(q)
	if _, err := json.Marshal(messages); err != nil {
		t.Error(err)
	}
}

func TestALevelEndsAWait(t *testing.T) {
	q := NewQueue()
	for range 2 {
		if err := q.SetLevels(map[string]int64{"wal": 10}, false); err != nil {
			t.Fatal(err)
		}
		if messages, _ := q.Next(context.Background()); messages != nil {
			t.Fatalf("got %v", messages)
		}
	}
}
