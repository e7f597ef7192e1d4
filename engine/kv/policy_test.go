package kv

import (
	"container/list"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/persisting/persisting/engine/blob"
	"github.com/persisting/persisting/engine/kv/transfer"
	"github.com/persisting/persisting/vfs/faultfs"
)

// asked is a request of a trace.
type asked struct {
	key  string
	scan bool // of keys that are asked for once, in the middle
}

// conversations is the trace of benchmarks/kv_bounds.py, for a cache of so many blocks: each turn asks for a shared prefix and for
// what was said before, and adds to it; the scan is of twice as many blocks.
func conversations(blocks, requests int) (all []asked) {
	rng := rand.New(rand.NewPCG(7, 7))
	type talk struct{ prefix, number, turns int }
	var active []*talk
	var sum float64
	for i := range 40 {
		sum += 1 / float64(i+1)
	}
	prefix := func() (i int) {
		for at := rng.Float64() * sum; i < 39; i++ {
			if at -= 1 / float64(i+1); at < 0 {
				break
			}
		}
		return i
	}
	number, scanned := 0, false
	for len(all) < requests {
		if !scanned && len(all) > requests/2 {
			scanned = true
			for i := range 2 * blocks {
				all = append(all, asked{fmt.Sprint("scan ", i), true})
			}
		}
		if len(active) < 60*blocks/2000 || rng.Float64() < 0.25 {
			number++
			active = append(active, &talk{prefix: prefix(), number: number})
		}
		newest := active[max(0, len(active)-90*blocks/2000):]
		t := newest[rng.IntN(len(newest))]
		t.turns++
		for i := range 8 {
			all = append(all, asked{fmt.Sprint("prefix ", t.prefix, i), false})
		}
		for i := range 2 * t.turns {
			all = append(all, asked{fmt.Sprint("talk ", t.number, " ", i), false})
		}
		if rng.Float64() < 0.2 || t.turns > 12 {
			for i := range active {
				if active[i] == t {
					active = append(active[:i], active[i+1:]...)
					break
				}
			}
		}
	}
	return all
}

// share plays a trace and returns how many of a hundred requests were hits, those of the scan and of the beginning left out.
func share(trace []asked, scan bool, hit func(key string) bool) float64 {
	found, counted := 0, 0
	for at, a := range trace {
		if a.scan && !scan {
			continue
		}
		ok := hit(a.key)
		if at < len(trace)/10 || a.scan {
			continue
		}
		if counted++; ok {
			found++
		}
	}
	return 100 * float64(found) / float64(counted)
}

// exactLRU is a cache of so many blocks that forgets the one that was asked for the longest time ago.
func exactLRU(blocks int) func(string) bool {
	order, at := list.New(), map[string]*list.Element{}
	return func(key string) bool {
		if e := at[key]; e != nil {
			order.MoveToFront(e)
			return true
		}
		if at[key] = order.PushFront(key); order.Len() > blocks {
			delete(at, order.Remove(order.Back()).(string))
		}
		return false
	}
}

// TestWhatIsWorthKeeping plays the trace with each policy: none is far behind an exact LRU of as many blocks as segments without
// headers would have, the default half a point, a scan of twice the capacity costs next to nothing, and little is written again.
func TestWhatIsWorthKeeping(t *testing.T) {
	const segments, perSegment = 64, 30
	o := tiny(faultfs.NewMem())
	o.SegmentBytes = (2 + 2*perSegment) * blob.PageBytes
	o.CapacityBytes = segments * (o.SegmentBytes + 3*entryBytes*perSegment)
	o.Sync = "never"
	const blocks = segments * perSegment
	trace := conversations(blocks, 100_000)
	bar := share(trace, false, exactLRU(blocks))
	for policy, behind := range map[string]float64{"s3fifo": 0.5, "lru": 0.75, "lfu": 0.75, "fifo": 2.5} {
		t.Run(policy, func(t *testing.T) {
			o := o
			o.Policy = policy
			var shares [2]float64
			for i, scan := range []bool{false, true} {
				o.FS = faultfs.NewMem()
				s := open(t, "/kv", o)
				if _, err := s.Space("", ""); err != nil {
					t.Fatal(err)
				}
				value := make([]byte, 100)
				shares[i] = share(trace, scan, func(key string) bool {
					if found, err := s.Touch(0, []byte(key), 0); err != nil || found {
						return found
					}
					if r := set(t, s, 0, key, value); r != transfer.OK {
						t.Fatalf("set of %s: result %d", key, r)
					}
					return false
				})
				if a := s.Stats().Amplification; a > 1.3 {
					t.Errorf("%.2f bytes are written for each that is set, want at most 1.30", a)
				}
			}
			t.Logf("%.2f %% hits, %.2f with the scan, exact LRU %.2f", shares[0], shares[1], bar)
			if shares[0] < bar-behind {
				t.Errorf("%.2f %% hits, want at least %.2f", shares[0], bar-behind)
			}
			if shares[1] < shares[0]-2 {
				t.Errorf("a scan costs %.2f points, want at most 2", shares[0]-shares[1])
			}
		})
	}
}
