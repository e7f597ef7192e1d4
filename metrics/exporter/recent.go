package exporter

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An answer to a scrape is given again for recentTime, and for recentShare times as
// long as it took to make: many scrapers cost no more than one that asks four times a
// second, and a hundredth of a processor however many buckets there are.
const (
	recentTime  = 250 * time.Millisecond
	recentShare = 100
)

// maxRecent is the number of answers in different formats that are kept.
const maxRecent = 8

// recent gives answers of another handler again while they are recent. It asks
// that handler once at a time.
type recent struct {
	next http.Handler

	mu      sync.Mutex
	answers map[wanted]*answer
	gzip    *gzip.Writer
}

// wanted is what a client accepts.
type wanted struct {
	formats, query string // as it says; name[] in the query selects metrics
	gzip           bool
}

// answer is a response as it was written.
type answer struct {
	io.Writer           // into the body
	until     time.Time // when it is recent no more
	header    http.Header
	status    int
	body      bytes.Buffer
}

func newRecent(next http.Handler) *recent {
	fast, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // which is a level
	return &recent{next: next, answers: map[wanted]*answer{}, gzip: fast}
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
	// As the client writes it: two that want the same in other words have an answer each, and the
	// table stays small by its bound.
	key := wanted{r.Header.Get("Accept"), r.URL.RawQuery, acceptsGzip(r.Header.Get("Accept-Encoding"))}
	h.mu.Lock()
	// Held while the answer is made: scrapers that come meanwhile wait for it, and get it.
	defer h.mu.Unlock()
	now := time.Now()
	if a := h.answers[key]; a != nil && now.Before(a.until) {
		return a
	}
	// All of them where there are too many, as a client that sends another header each time could
	// keep it full.
	for key, a := range h.answers {
		if len(h.answers) >= maxRecent || !now.Before(a.until) {
			delete(h.answers, key)
		}
	}
	a := &answer{header: http.Header{}, status: http.StatusOK}
	a.Writer = &a.body
	if key.gzip {
		h.gzip.Reset(&a.body)
		a.Writer = h.gzip
	}
	h.next.ServeHTTP(a, r)
	if key.gzip {
		_ = h.gzip.Close() // a buffer takes everything
		a.header.Set("Content-Encoding", "gzip")
	}
	a.header.Add("Vary", "Accept-Encoding")
	a.header.Set("Content-Length", strconv.Itoa(a.body.Len()))
	// Counted from the beginning, so that the values in it are never older than that.
	a.until = now.Add(max(recentTime, recentShare*time.Since(now)))
	h.answers[key] = a
	return a
}

// acceptsGzip reads a header Accept-Encoding.
func acceptsGzip(header string) bool {
	for one := range strings.SplitSeq(header, ",") {
		name, weight, weighted := strings.Cut(one, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			// A weight of 0 is a refusal.
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return !weighted || err == nil && q > 0
		}
	}
	return false
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }
