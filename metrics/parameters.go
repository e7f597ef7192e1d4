package metrics

import "time"

// ParametersState is what is in the directory of a store of parameters, as a survey finds it, and what this process does there.
type ParametersState struct {
	Names       int64   `json:"names"` // that have a version
	Versions    int64   `json:"versions"`
	TensorBytes int64   `json:"tensor_bytes"` // of all versions
	StoredBytes int64   `json:"stored_bytes"` // that these added to the store
	DiskBytes   int64   `json:"disk_bytes"`   // of packs and manifests
	Newest      float64 `json:"newest_time"`  // Unix seconds; 0 without a version
	Leases      int64   `json:"leases"`       // of any process, those that died among them
	Open        int64   `json:"open_versions"`
	Begun       int64   `json:"transactions"`
}

// SavedBytes is how the tensors of a version were stored.
type SavedBytes struct {
	Shared  int64 `json:"shared_bytes"`  // the store had them
	Changed int64 `json:"changed_bytes"` // what changed in them was stored
	Whole   int64 `json:"whole_bytes"`   // all of them was
	Written int64 `json:"written_bytes"` // that this added to the store
}

// parametersOperations are those that are counted and timed.
var parametersOperations = []Operation{Save, Part, Commit, Load, Pull, Verify, Collect}

// Parameters counts what one store of parameters does in this process. On a nil *Parameters, that of a store whose metrics are off,
// all methods do nothing.
type Parameters struct {
	tally
	ended  func() // takes it out of its set
	path   string
	survey survey[ParametersState]
}

// Close ends the series of the store, and waits for a survey.
func (p *Parameters) Close() {
	if p != nil {
		p.survey.close()
		p.ended()
	}
}

// Done counts an operation that ended: as a success, which is timed, or as a failure of a kind.
func (p *Parameters) Done(o Operation, took time.Duration, failed Kind) {
	if p != nil {
		p.done(o, took, failed)
	}
}

// Saved counts a version that was published.
func (p *Parameters) Saved(b SavedBytes) {
	if p != nil {
		p.add(paramsSaves, 1)
		p.add(paramsSharedBytes, b.Shared)
		p.add(paramsChangedBytes, b.Changed)
		p.add(paramsWholeBytes, b.Whole)
		p.add(paramsWrittenBytes, b.Written)
	}
}

// Loaded counts bytes that were read into the memory of a caller.
func (p *Parameters) Loaded(bytes int64) {
	if p != nil {
		p.add(paramsLoads, 1)
		p.add(paramsLoadedBytes, bytes)
	}
}

// Pulled counts bytes of a caller that were brought up to date, and those that were read for it.
func (p *Parameters) Pulled(bytes, read int64) {
	if p != nil {
		p.add(paramsPulls, 1)
		p.add(paramsPulledBytes, bytes)
		p.add(paramsPullReadBytes, read)
	}
}

// Verified counts bytes that were checked by a verify, and the faults that it found.
func (p *Parameters) Verified(bytes, faults int64) {
	if p != nil {
		p.add(paramsVerifiedBytes, bytes)
		p.add(paramsFaults, faults)
	}
}

// Collected counts files that a collector removed, and their bytes.
func (p *Parameters) Collected(files, bytes int64) {
	if p != nil {
		p.add(paramsCollectedFiles, files)
		p.add(paramsCollectedBytes, bytes)
	}
}

// ParametersStatus is what the status page shows of a store of parameters.
type ParametersStatus struct {
	Path string `json:"path"`
	ParametersState
	Saves int64 `json:"saves"`
	SavedBytes
	Loads    int64 `json:"loads"`
	Loaded   int64 `json:"loaded_bytes"`
	Pulls    int64 `json:"pulls"`
	Pulled   int64 `json:"pulled_bytes"`
	PullRead int64 `json:"pull_read_bytes"`
	Faults   int64 `json:"faults"` // found by verify, and operations that damage or the disk failed
}

// Status reads the store for the status page.
func (p *Parameters) Status() ParametersStatus {
	count := func(n number) int64 { return p.own[n].Load() }
	return ParametersStatus{
		Path: p.path, ParametersState: p.survey.get(),
		Saves: count(paramsSaves), Loads: count(paramsLoads), Loaded: count(paramsLoadedBytes),
		SavedBytes: SavedBytes{
			Shared: count(paramsSharedBytes), Changed: count(paramsChangedBytes), Whole: count(paramsWholeBytes), Written: count(paramsWrittenBytes),
		},
		Pulls: count(paramsPulls), Pulled: count(paramsPulledBytes), PullRead: count(paramsPullReadBytes),
		Faults: count(paramsFaults) + p.faults(),
	}
}

func (p *Parameters) numbers() numbers {
	st, n := p.survey.get(), p.read()
	for at, value := range map[number]int64{
		paramsNames: st.Names, paramsVersions: st.Versions, paramsTensorBytes: st.TensorBytes, paramsStoredBytes: st.StoredBytes,
		paramsDiskBytes: st.DiskBytes, paramsLeases: st.Leases, paramsOpen: st.Open, paramsBegun: st.Begun,
	} {
		n[at] = float64(value)
	}
	n[paramsNewest] = st.Newest
	return n
}
