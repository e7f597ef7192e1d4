package metrics

import (
	"maps"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Process is the state of the process at one moment.
type Process struct {
	Handles    int   // that callers hold
	ArrowBytes int64 // of memory
	Budget     int64 // bytes of memory for the rows of all buckets
	BudgetUsed int64 // and those that are taken
	LogDrops   int64 // so far
}

// Set holds the metrics of the buckets and stores of a process. It is a prometheus.Collector.
type Set struct {
	version  string
	process  func() Process
	descs    map[string]*prometheus.Desc // of all but histograms, by name
	columns  [nouns][]column             // every counter and gauge, by what has it
	histos   map[string]*prometheus.HistogramVec
	failures *prometheus.CounterVec
	limit    int

	mu     sync.Mutex
	groups map[labels]*group
	retain bool
}

// member is an open bucket or store.
type member interface{ numbers() numbers }

// group is those that share labels: one, or those beyond the limit.
type group struct {
	open   []member
	past   numbers            // counts of those that were closed
	labels [][]*dto.LabelPair // of each column of the set
}

// NewSet makes a set of no buckets. At each scrape process is asked for the state
// of the process; nil for none.
func NewSet(version string, process func() Process) *Set {
	if process == nil {
		process = func() Process { return Process{} }
	}
	s := &Set{
		version: version, process: process, limit: MaxBuckets,
		descs: map[string]*prometheus.Desc{}, histos: map[string]*prometheus.HistogramVec{},
		groups: map[labels]*group{},
	}
	for i := range Descriptions {
		d := &Descriptions[i]
		switch {
		case d.Type == HistogramType:
			s.histos[d.Name] = d.histogram()
		case d.Name == openErrors:
			s.failures = prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
		default:
			s.descs[d.Name] = d.desc()
			s.columns[d.Of] = append(s.columns[d.Of], d.columns(s.descs[d.Name])...)
		}
	}
	// There from the start with 0: an alert on their growth does not see a series that begins with
	// 1.
	for _, k := range []Kind{Invalid, Locked, Corrupt, Storage} {
		s.failures.WithLabelValues(string(k))
	}
	s.histos[recoveryDuration].WithLabelValues()
	return s
}

// Bucket makes the metrics of the open bucket in the directory path, until they
// are closed. At each scrape state is asked, which must not wait for a disk.
func (s *Set) Bucket(path string, state func() State) *Bucket {
	b := &Bucket{path: path, state: state}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, child := s.join(labels{OfBucket, filepath.Dir(path), filepath.Base(path)}, b)
	b.ended = func() { s.close(l, b) }
	b.put, b.get, b.flush = child(putDuration), child(getDuration), child(flushDuration)
	b.compaction, b.index = child(compactionDuration), child(indexDuration)
	b.fsync, b.group = child(fsyncDuration), child(groupAppends)
	return b
}

// Store makes the metrics of the open store of blocks in the directory path, as Bucket does.
func (s *Set) Store(path string, state func() StoreState) *Store {
	b := &Store{path: path, state: state}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, child := s.join(labels{noun: OfBlocks, name: path}, b)
	b.ended = func() { s.close(l, b) }
	b.load, b.store = child(kvLoadDuration), child(kvSetDuration)
	return b
}

// Parameters makes the metrics of the open store of parameters in the directory path, as Bucket does. look may take its time: a
// scrape waits for it no longer than a moment, and goes on with what it found before. Its errors are counted by their kind.
func (s *Set) Parameters(path string, look func() (ParametersState, error), kind func(error) Kind) *Parameters {
	p := &Parameters{path: path}
	p.survey = survey[ParametersState]{look: look, fail: func(err error) { p.unsurveyed(kind(err)) }}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, _ := s.join(labels{noun: OfParameters, name: path}, p)
	p.ended = func() { s.close(l, p) }
	p.times = s.timers(l, parametersDuration, parametersOperations)
	return p
}

// Trajectories makes the metrics of the open store of trajectories in the directory path, as Parameters does.
func (s *Set) Trajectories(path string, look func() (TrajectoriesState, error), kind func(error) Kind) *Trajectories {
	t := &Trajectories{path: path}
	t.survey = survey[TrajectoriesState]{look: look, fail: func(err error) { t.unsurveyed(kind(err)) }}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, _ := s.join(labels{noun: OfTrajectories, name: path}, t)
	t.ended = func() { s.close(l, t) }
	t.times = s.timers(l, trajectoriesDuration, trajectoriesOperations)
	return t
}

// timers finds the histograms of operations.
func (s *Set) timers(l labels, name string, of []Operation) map[Operation]prometheus.Observer {
	all := map[Operation]prometheus.Observer{}
	for _, o := range of {
		which := l.match()
		which["operation"] = string(o)
		all[o] = s.histos[name].With(which)
	}
	return all
}

// join takes in a bucket or a store. It returns the labels that its series have, and what finds its histograms. The caller holds
// s.mu.
func (s *Set) join(l labels, m member) (labels, func(name string) prometheus.Observer) {
	g, ok := s.groups[l]
	// Series are for ever to Prometheus, and a program may open a bucket for each of its users.
	// Beyond the limit they are counted together, and nothing is lost but their names.
	if !ok && s.count(l.noun) >= s.limit {
		l = l.noun.other()
		g, ok = s.groups[l]
	}
	if !ok {
		g = &group{labels: l.pairs(s.columns[l.noun])}
		s.groups[l] = g
	}
	g.open = append(g.open, m)
	// Found once, when the bucket is opened: to look a histogram up by its labels takes longer than
	// to observe.
	return l, func(name string) prometheus.Observer { return s.histos[name].With(l.match()) }
}

// count goes over all groups: it is asked when one is opened, and there are few hundred of them at most.
func (s *Set) count(of Noun) (n int) {
	for l := range s.groups {
		if l.noun == of {
			n++
		}
	}
	return n
}

// Opened times an opening of a bucket, with its recovery.
func (s *Set) Opened(took time.Duration) {
	s.histos[recoveryDuration].WithLabelValues().Observe(took.Seconds())
}

// OpenFailed counts a bucket that could not be opened.
func (s *Set) OpenFailed(k Kind) { s.failures.WithLabelValues(string(k)).Inc() }

// Retain says whether the last counts of buckets stay when they are closed, for
// a push at the end of the process.
func (s *Set) Retain(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retain = yes
	if yes {
		return
	}
	for l, g := range s.groups {
		if len(g.open) == 0 {
			s.drop(l)
		}
	}
}

// drop ends the series of l. The caller holds s.mu.
func (s *Set) drop(l labels) {
	delete(s.groups, l)
	for i := range Descriptions { // stores of two kinds can have the same labels
		if d := &Descriptions[i]; d.Type == HistogramType && d.Of == l.noun {
			s.histos[d.Name].DeletePartialMatch(l.match())
		}
	}
}

// close ends the series of l with the last that has them. What it has counted stays in their sum until then: a counter that
// falls is a process that began anew, to Prometheus.
func (s *Set) close(l labels, m member) {
	last := m.numbers().counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[l]
	i := -1
	if g != nil {
		i = slices.Index(g.open, m)
	}
	if i < 0 {
		return // it was closed before
	}
	g.open = slices.Delete(g.open, i, i+1)
	g.past.add(&last, false)
	if len(g.open) == 0 && !s.retain {
		s.drop(l)
	}
}

// Describe implements prometheus.Collector.
func (s *Set) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		ch <- d
	}
	for _, h := range s.histos {
		h.Describe(ch)
	}
	s.failures.Describe(ch)
}

// Collect implements prometheus.Collector.
func (s *Set) Collect(ch chan<- prometheus.Metric) {
	readings, open := s.readings()
	for i := range readings {
		ch <- &readings[i]
	}
	for _, h := range s.histos {
		h.Collect(ch)
	}
	s.failures.Collect(ch)
	p := s.process()
	gauge := func(name string, v float64, values ...string) {
		ch <- prometheus.MustNewConstMetric(s.descs[name], prometheus.GaugeValue, v, values...)
	}
	gauge(openBuckets, float64(open[OfBucket]))
	gauge(openStores, float64(open[OfBlocks]))
	gauge(openParameters, float64(open[OfParameters]))
	gauge(openTrajectories, float64(open[OfTrajectories]))
	gauge(openHandles, float64(p.Handles))
	gauge(memoryBudget, float64(p.Budget))
	gauge(memoryBudgetUsed, float64(p.BudgetUsed))
	gauge(processMemory, float64(p.ArrowBytes), "arrow")
	gauge(processMemory, float64(goHeap()), "go")
	gauge(buildInfo, 1, s.version)
	ch <- prometheus.MustNewConstMetric(s.descs[logDrops], prometheus.CounterValue, float64(p.LogDrops))
}

// readings reads the buckets and stores, outside the lock that opening and closing take.
func (s *Set) readings() (all []reading, open [nouns]int) {
	type total struct {
		members []member
		columns []column
		labels  [][]*dto.LabelPair
		numbers numbers
		same    bool // all are of one directory
	}
	s.mu.Lock()
	totals := make([]total, 0, len(s.groups))
	size := 0
	for l, g := range s.groups {
		columns := s.columns[l.noun]
		totals = append(totals, total{slices.Clone(g.open), columns, g.labels, g.past, l != l.noun.other()})
		open[l.noun] += len(g.open)
		size += len(columns)
	}
	s.mu.Unlock()
	all = make([]reading, 0, size)
	for _, t := range totals {
		for _, m := range t.members {
			n := m.numbers()
			t.numbers.add(&n, t.same)
		}
		for i := range t.columns {
			c := &t.columns[i]
			all = append(all, reading{c, t.labels[i], t.numbers[c.number] * c.scale})
		}
	}
	return all, open
}

func goHeap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Buckets returns the open buckets, in the order of their labels.
func (s *Set) Buckets() []*Bucket { return opened[*Bucket](s) }

// Stores returns the open stores of blocks, in the order of their labels.
func (s *Set) Stores() []*Store { return opened[*Store](s) }

// AllParameters returns the open stores of parameters, in the order of their labels.
func (s *Set) AllParameters() []*Parameters { return opened[*Parameters](s) }

// AllTrajectories returns the open stores of trajectories, in the order of their labels.
func (s *Set) AllTrajectories() []*Trajectories { return opened[*Trajectories](s) }

func opened[M member](s *Set) (all []M) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(s.groups), func(a, b labels) int {
		return slices.Compare([]string{a.topic, a.name}, []string{b.topic, b.name})
	})
	for _, l := range keys {
		for _, m := range s.groups[l].open {
			if one, ok := m.(M); ok {
				all = append(all, one)
			}
		}
	}
	return all
}
