package exporter

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persisting/persisting/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, change func(*Options)) (*Server, *metrics.Set) {
	t.Helper()
	set, reg := metrics.NewSet("1.2.3", nil), prometheus.NewRegistry()
	reg.MustRegister(set)
	o := Options{Addr: "127.0.0.1"}
	if change != nil {
		change(&o)
	}
	s, err := Start(o, Source{Gatherer: reg, Set: set, Version: "1.2.3", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, set
}

// ask sends one request on a connection of its own.
func ask(t *testing.T, s *Server, path string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.Address()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	if change != nil {
		change(r)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func TestServesMetricsInTheFormatAskedFor(t *testing.T) {
	s, set := start(t, nil)
	b := set.Bucket("/data/queue/bucket_0", func() metrics.State { return metrics.State{PutRecords: 7} })
	defer b.Close()
	const series = `persisting_records_total{bucket="bucket_0",operation="put",topic="/data/queue"} 7`
	if _, body := ask(t, s, "/metrics", nil); !strings.Contains(body, series+"\n") {
		t.Errorf("text: %.300s", body)
	}
	answer, body := ask(t, s, "/metrics", func(r *http.Request) {
		r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	})
	if !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(body, "# EOF\n") || !strings.Contains(body, series+".0\n") {
		t.Errorf("OpenMetrics: %s %.300s", answer.Header, body)
	}
	if _, body := ask(t, s, "/metrics?name[]=persisting_rows", nil); strings.Contains(body, series) || !strings.Contains(body, "persisting_rows{") {
		t.Errorf("one metric: %.300s", body)
	}
	answer, body = ask(t, s, "/metrics", func(r *http.Request) {
		r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	})
	if !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/vnd.google.protobuf") || body == "" {
		t.Errorf("protobuf: %s", answer.Header)
	}
}

func TestAnswersAreGivenAgainForAMoment(t *testing.T) {
	var (
		asked int
		slow  time.Duration
	)
	h := newRecent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		time.Sleep(slow)
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "answer ", asked)
	}))
	scrape := func(path, accept string) string {
		t.Helper()
		r, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
		r.Header.Set("Accept", accept)
		h.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted || w.Header().Get("Content-Type") != accept {
			t.Errorf("%d %s", w.Code, w.Header())
		}
		return w.Body.String()
	}
	first, again, format, names := scrape("/", "a"), scrape("/", "a"), scrape("/", "b"), scrape("/?name[]=x", "a")
	if first != "answer 1" || again != first || format != "answer 2" || names != "answer 3" {
		t.Errorf("%q, %q, %q, %q", first, again, format, names)
	}
	h.answers[wanted{formats: "a"}].until = time.Now()
	if late := scrape("/", "a"); late != "answer 4" {
		t.Errorf("an old answer: %q", late)
	}
	slow = 10 * time.Millisecond
	scrape("/", "slow")
	slow = 0
	if rest := time.Until(h.answers[wanted{formats: "slow"}].until); rest < 900*time.Millisecond {
		t.Errorf("an answer that took 10 ms is recent for another %v", rest)
	}
	for i := range 3 * maxRecent {
		scrape("/", fmt.Sprint("format ", i))
	}
	if n := len(h.answers); n > maxRecent {
		t.Errorf("%d answers are kept", n)
	}
}

func TestCompressesForThoseWhoSayThatTheyReadIt(t *testing.T) {
	tests := map[string]bool{
		"":                        false,
		"identity":                false,
		"gzip":                    true,
		"deflate, GZIP ;q=0.5":    true,
		"br,gzip; q=1.0, *;q=0.1": true,
		"gzip;q=0":                false,
		"gzip;q=much":             false,
		"*":                       false,
		"gzipped":                 false,
	}
	s, _ := start(t, nil)
	for accepted, compressed := range tests {
		t.Run(accepted, func(t *testing.T) {
			answer, body := ask(t, s, "/metrics", func(r *http.Request) { r.Header.Set("Accept-Encoding", accepted) })
			if got := answer.Header.Get("Content-Encoding") == "gzip"; got != compressed {
				t.Errorf("compressed: %v, want %v", got, compressed)
			}
			if vary := answer.Header.Values("Vary"); !slices.Contains(vary, "Accept-Encoding") {
				t.Errorf("varies by %q", vary)
			}
			text := []byte(body)
			if compressed {
				plain, err := gzip.NewReader(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if text, err = io.ReadAll(plain); err != nil {
					t.Error(err)
				}
			}
			if !bytes.Contains(text, []byte(`persisting_build_info{version="1.2.3"} 1`)) {
				t.Errorf("%.200s", text)
			}
		})
	}
}

func TestServesAPageAndItsState(t *testing.T) {
	s, set := start(t, nil)
	b := set.Bucket("/data/<queue>/bucket_0", func() metrics.State { return metrics.State{Rows: 7, Poisoned: true} })
	defer b.Close()
	defer set.Store("/data/<kv>", func() metrics.StoreState { return metrics.StoreState{Keys: 8} }).Close()
	weights := func() (metrics.ParametersState, error) { return metrics.ParametersState{Versions: 9}, nil }
	defer set.Parameters("/data/<params>", weights, nil).Close()
	steps := func() (metrics.TrajectoriesState, error) { return metrics.TrajectoriesState{EndedSteps: 10}, nil }
	defer set.Trajectories("/data/<steps>", steps, nil).Close()
	for path, kind := range map[string]string{"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"} {
		answer, body := ask(t, s, path, nil)
		if answer.StatusCode != 200 || !strings.HasPrefix(answer.Header.Get("Content-Type"), kind) || body == "" {
			t.Errorf("%s: %d %s", path, answer.StatusCode, answer.Header)
		}
		if !strings.Contains(answer.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %s", path, answer.Header)
		}
	}
	_, body := ask(t, s, "/status.json", nil)
	var status Status
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Buckets) != 1 || status.Buckets[0].Path != "/data/<queue>/bucket_0" || status.Buckets[0].Rows != 7 || !status.Buckets[0].Poisoned || status.Version != "1.2.3" {
		t.Errorf("status %s", body)
	}
	if len(status.Stores) != 1 || status.Stores[0].Path != "/data/<kv>" || status.Stores[0].Keys != 8 {
		t.Errorf("status %s", body)
	}
	if len(status.Parameters) != 1 || status.Parameters[0].Path != "/data/<params>" || status.Parameters[0].Versions != 9 {
		t.Errorf("status %s", body)
	}
	if len(status.Trajectories) != 1 || status.Trajectories[0].Path != "/data/<steps>" || status.Trajectories[0].EndedSteps != 10 {
		t.Errorf("status %s", body)
	}
	for _, path := range []string{"/no", "/debug/pprof/", "/page/page.html", "/page.html", "/metrics/x"} {
		if answer, _ := ask(t, s, path, nil); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
	}
}

func TestRefuses(t *testing.T) {
	s, _ := start(t, nil)
	tests := map[string]struct {
		change func(*http.Request)
		status int
	}{
		"a post":          {func(r *http.Request) { r.Method = "POST" }, http.StatusMethodNotAllowed},
		"a delete":        {func(r *http.Request) { r.Method = "DELETE" }, http.StatusMethodNotAllowed},
		"a body":          {func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1 }, http.StatusRequestEntityTooLarge},
		"a chunked body":  {func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), -1 }, http.StatusRequestEntityTooLarge},
		"another's name":  {func(r *http.Request) { r.Host = "evil.example:9641" }, http.StatusMisdirectedRequest},
		"another address": {func(r *http.Request) { r.Host = "10.1.2.3" }, http.StatusMisdirectedRequest},
		"nothing":         {func(r *http.Request) { r.Host = "localhost:1" }, http.StatusOK},
		"nothing in IPv6": {func(r *http.Request) { r.Host = "[::1]:1" }, http.StatusOK},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if answer, body := ask(t, s, "/metrics", test.change); answer.StatusCode != test.status {
				t.Errorf("%d, want %d: %.200s", answer.StatusCode, test.status, body)
			}
		})
	}
}

func TestRefusesALargeHeader(t *testing.T) {
	s, _ := start(t, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(s.Address(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The end of the request never comes, so what is answered is to its length.
	_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Large: "+strings.Repeat("x", maxHeaderBytes))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(line, "431") {
		t.Errorf("%q, %v", line, err)
	}
}

func TestAsksWhoItIs(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.Username, o.Password = "prometheus", "sesame:open" })
	for _, path := range []string{"/", "/metrics", "/status.json", "/no"} {
		if answer, body := ask(t, s, path, nil); answer.StatusCode != http.StatusUnauthorized || strings.Contains(body, "persisting_") {
			t.Errorf("%s without a password: %d", path, answer.StatusCode)
		}
		if answer, _ := ask(t, s, path, func(r *http.Request) { r.SetBasicAuth("prometheus", "sesame") }); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s with a wrong password: %d", path, answer.StatusCode)
		}
	}
	if answer, _ := ask(t, s, "/metrics", func(r *http.Request) { r.SetBasicAuth("prometheus", "sesame:open") }); answer.StatusCode != http.StatusOK {
		t.Errorf("with the password: %d", answer.StatusCode)
	}
}

func TestServesTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := start(t, func(o *Options) { o.CertFile, o.KeyFile = cert, key })
	answer, body := ask(t, s, "/metrics", nil)
	if answer.TLS == nil || answer.StatusCode != 200 || !strings.Contains(body, "persisting_build_info") {
		t.Errorf("%d, TLS %v", answer.StatusCode, answer.TLS)
	}
	_, err = Start(Options{Addr: "127.0.0.1", CertFile: key, KeyFile: cert}, Source{})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a wrong certificate: %v", err)
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.readTime = 50 * time.Millisecond })
	for name, text := range map[string]string{"nothing": "", "half a header": "GET /metrics HTTP/1.1\r\nHost: localhost\r\n"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.Address(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, text)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if answer, err := io.ReadAll(c); err != nil || strings.Contains(string(answer), "200") {
			t.Errorf("%s: %v, %q", name, err, answer)
		}
		_ = c.Close()
	}
}

func TestSlowReadersAreCutOff(t *testing.T) {
	s, set := start(t, func(o *Options) { o.writeTime = 100 * time.Millisecond })
	for i := range 100 { // more than the buffers of a connection take
		topic := strings.Repeat("x", 1000)
		defer set.Bucket(fmt.Sprintf("/%s/%d", topic, i), func() metrics.State { return metrics.State{} }).Close()
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(s.Address(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
	time.Sleep(3 * s.http.WriteTimeout)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return // not even the header came in time
	}
	defer answer.Body.Close()
	var late net.Error
	if n, err := io.Copy(io.Discard, answer.Body); err == nil || errors.As(err, &late) && late.Timeout() {
		t.Errorf("%d bytes of %d, %v", n, answer.ContentLength, err)
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	s, _ := start(t, nil)
	var open []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.Address(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	question := "GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
	c, err := net.Dial("tcp", strings.TrimPrefix(s.Address(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, question)
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatalf("one too many was answered: %d bytes", n)
	}
	_ = open[0].Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(line, "200") {
		t.Errorf("after another left: %q, %v", line, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	tests := map[string]struct{ text, fault string }{
		"remote":            {`{"addr": "0.0.0.0"}`, "allow_remote"},
		"remote in IPv6":    {`{"addr": "::"}`, "allow_remote"},
		"a name":            {`{"addr": "example.com"}`, "addr"},
		"nowhere":           {`{"addr": ""}`, "addr"},
		"a port":            {`{"port": 65536}`, "port"},
		"a negative port":   {`{"port": -1}`, "port"},
		"a key alone":       {`{"key_file": "key.pem"}`, "cert_file"},
		"a password alone":  {`{"password": "x"}`, "username"},
		"a colon":           {`{"username": "a:b", "password": "x"}`, "colon"},
		"an unknown option": {`{"adr": "::1"}`, "adr"},
		"no object":         {`[]`, "options"},
	}
	for name, test := range tests {
		if _, err := ParseOptions([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %v, want something about %s", name, err, test.fault)
		}
	}
	for _, text := range []string{"", `{"addr": "localhost"}`, `{"addr": "::1"}`, `{"addr": "0.0.0.0", "allow_remote": true}`} {
		if o, err := ParseOptions([]byte(text)); err != nil || o.Port != DefaultPort {
			t.Errorf("%s: %+v, %v", text, o, err)
		}
	}
}

func TestAnAddressThatIsTaken(t *testing.T) {
	s, _ := start(t, nil)
	var port int
	if _, err := fmt.Sscanf(s.Address(), "http://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Options{Addr: "127.0.0.1", Port: port}, Source{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
}
