package procs

import (
	"os"
	"runtime"
	"sync"
)

// cores is what Go found for itself, from the processors and from the share of them that the process has.
var cores = runtime.GOMAXPROCS(0)

var mu sync.Mutex

// Cores is how many goroutines that only compute are worth their while.
func Cores() int { return cores }

// AtLeast has Go run so many goroutines at a time, for as long as the process lives, if it runs fewer and the environment does
// not say how many (GOMAXPROCS).
func AtLeast(n int) {
	mu.Lock()
	defer mu.Unlock()
	if _, chosen := os.LookupEnv("GOMAXPROCS"); !chosen && runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
}
