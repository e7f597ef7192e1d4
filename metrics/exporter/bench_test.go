package exporter

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/persisting/persisting/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// BenchmarkScrape is a scrape as Prometheus asks for it.
func BenchmarkScrape(b *testing.B) {
	for _, compressed := range []string{"", "gzip"} {
		for _, buckets := range []int{1, 64} {
			b.Run(fmt.Sprintf("buckets=%d/encoding=%s", buckets, compressed), func(b *testing.B) {
				set, reg := metrics.NewSet("1.2.3", nil), prometheus.NewRegistry()
				reg.MustRegister(set)
				for n := range buckets {
					bucket := set.Bucket(fmt.Sprintf("/data/queue/bucket_%d", n), func() metrics.State { return metrics.State{} })
					for i := range 1000 {
						bucket.GetDone(1, time.Duration(i)*time.Microsecond)
						bucket.LogSynced(time.Duration(i) * time.Microsecond)
						bucket.LogWrote(i%7, 100)
					}
				}
				h := newRecent(promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true, DisableCompression: true}))
				r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
				r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
				r.Header.Set("Accept-Encoding", compressed)
				b.ReportAllocs()
				for b.Loop() {
					clear(h.answers)
					h.answer(r)
				}
			})
		}
	}
}
