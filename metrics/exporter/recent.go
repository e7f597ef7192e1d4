package exporter

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// An answer to a scrape is given again for recentTime, and for recentShare times as
// long as it took to make: many scrapers cost no more than one that asks ten times a
// second, and a 64th of a processor however many buckets there are.
const (
	recentTime  = 100 * time.Millisecond
	recentShare = 64
)

// maxRecent is the number of answers in different formats that are kept.
const maxRecent = 8

// recent gives answers of another handler again while they are recent. It asks
// that handler once at a time.
type recent struct {
	next http.Handler

	mu      sync.Mutex
	answers map[[2]string]*answer // by what the client accepts: formats, encodings
}

// answer is a response as it was written.
type answer struct {
	until  time.Time // when it is recent no more
	header http.Header
	status int
	body   bytes.Buffer
}

// ServeHTTP implements http.Handler.
func (h *recent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := h.answer(r)
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a client that is gone wants none
}

func (h *recent) answer(r *http.Request) *answer {
	key := [2]string{r.Header.Get("Accept"), r.Header.Get("Accept-Encoding")}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if a := h.answers[key]; a != nil && now.Before(a.until) {
		return a
	}
	for key, a := range h.answers {
		if len(h.answers) >= maxRecent || !now.Before(a.until) {
			delete(h.answers, key)
		}
	}
	a := &answer{header: http.Header{}, status: http.StatusOK}
	h.next.ServeHTTP(a, r)
	a.header.Set("Content-Length", strconv.Itoa(a.body.Len()))
	a.until = now.Add(max(recentTime, recentShare*time.Since(now)))
	h.answers[key] = a
	return a
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
