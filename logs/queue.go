package logs

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Capacity is the number of messages that wait for a reader at most.
const Capacity = 1024

// Components that have a level of their own.
var Components = []string{"engine", "wal", "server"}

// Message is what was logged.
type Message struct {
	Time      int64          `json:"time"`  // Unix nanoseconds
	Level     int            `json:"level"` // as Python counts: 10 debug, 20 info, 30 warning, 40 error
	Component string         `json:"component"`
	Text      string         `json:"text"`
	Attrs     map[string]any `json:"attrs,omitempty"`
	Log       bool           `json:"log"`  // whether its level was asked for
	Span      bool           `json:"span"` // whether it says how long something took
}

// Queue is messages on their way to a reader.
type Queue struct {
	levels  map[string]*atomic.Int64 // as Python counts
	tracing atomic.Bool
	dropped atomic.Int64

	mu       sync.Mutex // held for no longer than an append takes
	waiting  []Message
	reported int64         // of dropped
	ready    chan struct{} // holds a token when there is something
}

// NewQueue makes a queue whose components log warnings and worse.
func NewQueue() *Queue {
	q := &Queue{levels: map[string]*atomic.Int64{}, ready: make(chan struct{}, 1)}
	for _, c := range Components {
		q.levels[c] = &atomic.Int64{}
		q.levels[c].Store(pythonLevel(slog.LevelWarn))
	}
	return q
}

// SetLevels changes levels, as Python counts, by component, and whether work is traced. It ends a wait for messages.
func (q *Queue) SetLevels(levels map[string]int64, tracing bool) error {
	// All are looked at first: half of a change is none that anybody asked for.
	for c := range levels {
		if q.levels[c] == nil {
			return fmt.Errorf("logs: there is no component %q", c)
		}
	}
	for c, level := range levels {
		q.levels[c].Store(level)
	}
	q.tracing.Store(tracing)
	q.wake()
	return nil
}

func (q *Queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Dropped is the number of messages that found the queue full.
func (q *Queue) Dropped() int64 { return q.dropped.Load() }

// Next waits for messages, until ctx is done or the levels change, and returns all
// there are, with the number of those that were dropped since the last call.
func (q *Queue) Next(ctx context.Context) (messages []Message, dropped int64) {
	select {
	case <-q.ready:
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	messages, q.waiting = q.waiting, nil
	all := q.dropped.Load()
	dropped, q.reported = all-q.reported, all
	return messages, dropped
}

func (q *Queue) add(m Message) {
	q.mu.Lock()
	// The newest is dropped, as what came first tells how it began; the count tells how much is
	// missing.
	if len(q.waiting) < Capacity {
		q.waiting = append(q.waiting, m)
	} else {
		q.dropped.Add(1)
	}
	q.mu.Unlock()
	q.wake()
}

// Logger returns a logger of a component that feeds the queue. An attribute
// "component" of a logger made from it names another.
func (q *Queue) Logger(component string) *slog.Logger {
	return slog.New(&handler{queue: q, component: component, level: q.levels[component]})
}

// handler is a slog.Handler that feeds a queue.
type handler struct {
	queue     *Queue
	component string
	level     *atomic.Int64
	group     string // prefix of the names of attributes
	attrs     []slog.Attr
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	// Asked before anything of a message is made. A span has to pass, whatever its level, so it is
	// decided for each when it is there.
	return pythonLevel(l) >= h.level.Load() || h.queue.tracing.Load()
}

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	m := Message{
		Time: r.Time.UnixNano(), Level: int(pythonLevel(r.Level)), Component: h.component, Text: r.Message,
		Log: pythonLevel(r.Level) >= h.level.Load(),
	}
	attrs := make(map[string]any, len(h.attrs)+r.NumAttrs())
	for _, a := range h.attrs {
		attrs[a.Key] = plain(a.Value)
	}
	r.Attrs(func(a slog.Attr) bool {
		attrs[h.group+a.Key] = plain(a.Value)
		return true
	})
	m.Attrs = attrs
	// What was asked for is a span of the caller, who timed it.
	m.Span = h.queue.tracing.Load() && attrs["operation"] != nil && attrs["asked"] != true
	if m.Log || m.Span {
		h.queue.add(m)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		if level := h.queue.levels[a.Value.String()]; a.Key == "component" && level != nil {
			c.component, c.level = a.Value.String(), level
			continue
		}
		a.Key = h.group + a.Key
		c.attrs = append(c.attrs, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.group += name + "."
	return &c
}

// plain is a value that JSON can hold: durations are seconds.
func plain(v slog.Value) any {
	switch v = v.Resolve(); v.Kind() {
	case slog.KindBool:
		return v.Bool()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindFloat64:
		// JSON has no word for these, and would lose the whole message.
		if f := v.Float64(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	case slog.KindDuration:
		return v.Duration().Seconds()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	}
	return v.String()
}

// pythonLevel is the number that Python's logging has for a level.
func pythonLevel(l slog.Level) int64 { return max(0, int64(l)*10/4+20) }
