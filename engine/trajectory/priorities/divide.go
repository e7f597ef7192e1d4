package priorities

import (
	"runtime"
	"sync"
)

// leastDivided is how many numbers one processor has at least, so that others are worth waking.
const leastDivided = 1 << 14

// Divide calls do with the parts of [0, count), at once where there are many: each with one of its own, on a goroutine of its own.
func Divide(count int64, do func(from, end int64)) {
	parts := min(int64(runtime.GOMAXPROCS(0)), max(1, count/leastDivided))
	var others sync.WaitGroup
	for n := range parts - 1 {
		others.Add(1)
		go func() {
			defer others.Done()
			do(n*count/parts, (n+1)*count/parts)
		}()
	}
	do((parts-1)*count/parts, count)
	others.Wait()
}
