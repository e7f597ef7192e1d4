package transfer

import (
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// batch has n items, all of them to do.
func batch(n int) *Work {
	b := &Batch{Items: make([]Item, n), Results: make([]int8, n)}
	for i := range b.Items {
		b.Items[i].Pieces = [][]byte{make([]byte, i), make([]byte, 1)}
	}
	w := NewWork(b, time.Now())
	w.All()
	return w
}

func started(t *testing.T, run func(*Work, int), workers int) *Mover {
	t.Helper()
	var m Mover
	m.Start(run, run, workers)
	t.Cleanup(m.Stop)
	return &m
}

func TestEachItemRunsOnce(t *testing.T) {
	var mu sync.Mutex
	ran := map[*Work][]int{}
	m := started(t, func(w *Work, i int) {
		mu.Lock()
		ran[w] = append(ran[w], i)
		mu.Unlock()
		w.End(i, int8(w.Lengths[i]))
	}, 3)
	for _, n := range []int{0, 1, 2, 50} {
		w := batch(n)
		m.Wait(m.Loads, w)
		slices.Sort(ran[w])
		for i := range n {
			if ran[w][i] != i || w.Results[i] != int8(i+1) {
				t.Fatalf("%d items: ran %v, results %v", n, ran[w], w.Results)
			}
		}
	}
}

// TestABatchWakesAllWorkers has items that end together only, when each has a worker of its own.
func TestABatchWakesAllWorkers(t *testing.T) {
	const workers = 6
	var together sync.WaitGroup
	m := started(t, func(w *Work, i int) {
		together.Done()
		together.Wait()
		w.End(i, OK)
	}, workers)
	for range 20 {
		together.Add(workers)
		w := batch(workers)
		ticket := m.Submit(m.Loads, w)
		tickets := make([]uint64, 1)
		for m.Drain(tickets) == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		if tickets[0] != ticket {
			t.Fatalf("drained %d, want %d", tickets[0], ticket)
		}
	}
}

// TestOneItemRunsOnItsCaller has no worker that could run it.
func TestOneItemRunsOnItsCaller(t *testing.T) {
	hold := make(chan struct{})
	m := started(t, func(w *Work, i int) {
		if len(w.Items) > 1 {
			<-hold
		}
		w.End(i, OK)
	}, 1)
	busy := m.Submit(m.Loads, batch(2))
	m.Wait(m.Loads, batch(1))
	close(hold)
	tickets := make([]uint64, 2)
	for n := 0; n == 0; time.Sleep(time.Millisecond) {
		if n = m.Drain(tickets); n > 0 && tickets[0] != busy {
			t.Errorf("drained %v, want %d", tickets[:n], busy)
		}
	}
}

// TestOneWakeForWhatIsThere wakes once for all that ends before the first drain, and once more for what a drain leaves.
func TestOneWakeForWhatIsThere(t *testing.T) {
	m := started(t, func(w *Work, i int) { w.End(i, OK) }, 1)
	woken := 0
	m.SetWaker(func() { woken++ })
	for range 5 {
		m.Submit(m.Stores, batch(0))
	}
	if woken != 1 {
		t.Errorf("woke %d times for 5 batches", woken)
	}
	tickets := make([]uint64, 3)
	if n := m.Drain(tickets); n != 3 || !slices.Equal(tickets, []uint64{1, 2, 3}) || woken != 2 {
		t.Errorf("drained %d, %v, woke %d times", n, tickets, woken)
	}
	if n := m.Drain(tickets); n != 2 || woken != 2 {
		t.Errorf("drained %d, woke %d times", n, woken)
	}
}

func TestTheBacklogIsBounded(t *testing.T) {
	m := started(t, func(w *Work, i int) { w.End(i, OK) }, 1)
	q := m.Stores
	if !q.Hold(100, 10) {
		t.Error("what is alone was refused, though longer than all of it")
	}
	if q.Hold(1, 100) || !q.Hold(1, 101) {
		t.Error("the bound is not 100 bytes")
	}
	q.Release(101)
	if _, backlog := q.Length(); backlog != 0 {
		t.Errorf("%d bytes are left", backlog)
	}
}

func TestAfterStopTheCallerRunsAll(t *testing.T) {
	var m Mover
	run := func(w *Work, i int) { w.End(i, Shed) }
	m.Start(run, run, 2)
	m.Stop()
	w := batch(3)
	m.Submit(m.Loads, w)
	if n := m.Drain(make([]uint64, 1)); n != 1 || !slices.Equal(w.Results, []int8{Shed, Shed, Shed}) {
		t.Errorf("drained %d, results %v", n, w.Results)
	}
}
