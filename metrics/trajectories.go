package metrics

import "time"

// TrajectoriesState is what is in a store of trajectories at one moment.
type TrajectoriesState struct {
	Open        int64 `json:"open"` // episodes
	Ended       int64 `json:"ended"`
	Lost        int64 `json:"lost"`
	Superseded  int64 `json:"superseded"`
	OpenSteps   int64 `json:"open_steps"` // of open episodes
	EndedSteps  int64 `json:"ended_steps"`
	HiddenSteps int64 `json:"hidden_steps"` // of episodes that are lost or superseded
	Rows        int64 `json:"rows"`         // steps and last observations
	HotRows     int64 `json:"hot_rows"`     // of those, in the mirror
	HotBytes    int64 `json:"hot_bytes"`    // of the files of the mirror
	LogBytes    int64 `json:"log_bytes"`    // of both buckets
	TableBytes  int64 `json:"table_bytes"`
	SheetRows   int64 `json:"sheet_rows"`   // steps that lie in sheets
	Leased      int64 `json:"leased"`       // batches without an acknowledgement
	LeasedSteps int64 `json:"leased_steps"` // of those
	Tags        int64 `json:"tags"`
	Behind      int64 `json:"behind"` // steps before a sampler with an order
}

// Drawn is what a sample was.
type Drawn struct {
	Draws, Steps int64
}

// trajectoriesOperations are those that are counted and timed.
var trajectoriesOperations = []Operation{Append, Draw, Lease, Ack, Tag, Restore, Prioritize}

// Trajectories counts what one store of trajectories does. On a nil *Trajectories, that of a store whose metrics are off, all
// methods do nothing.
type Trajectories struct {
	tally
	ended  func() // takes it out of its set
	path   string
	survey survey[TrajectoriesState]
}

// Close ends the series of the store, and waits for a survey.
func (t *Trajectories) Close() {
	if t != nil {
		t.survey.close()
		t.ended()
	}
}

// Done counts an operation that ended: as a success, which is timed, or as a failure of a kind.
func (t *Trajectories) Done(o Operation, took time.Duration, failed Kind) {
	if t != nil {
		t.done(o, took, failed)
	}
}

// Appended counts steps, or last observations, that were stored.
func (t *Trajectories) Appended(steps, finals int64) {
	if t != nil {
		t.add(trajectorySteps, steps)
		t.add(trajectoryFinals, finals)
	}
}

// Sampled counts a sample and times it.
func (t *Trajectories) Sampled(d Drawn, took time.Duration) {
	if t != nil {
		t.add(trajectorySamples, 1)
		t.add(trajectorySampleNanos, int64(took))
		t.add(trajectoryDraws, d.Draws)
		t.add(trajectoryDrawnSteps, d.Steps)
		t.done(Draw, took, "")
	}
}

// RowsRead counts rows that samplers read, and those of them that were not in the mirror.
func (t *Trajectories) RowsRead(rows, cold int64) {
	if t != nil {
		t.add(trajectoryRowsHot, rows-cold)
		t.add(trajectoryRowsCold, cold)
	}
}

// Leased counts a batch of so many steps that was given out.
func (t *Trajectories) Leased(steps int64) {
	if t != nil {
		t.add(trajectoryLeases, 1)
		t.add(trajectoryLeasedSteps, steps)
	}
}

// Acked counts a batch that was acknowledged.
func (t *Trajectories) Acked() {
	if t != nil {
		t.add(trajectoryAcks, 1)
	}
}

// Prioritized counts steps that were given a priority.
func (t *Trajectories) Prioritized(steps int64) {
	if t != nil {
		t.add(trajectoryRanked, steps)
	}
}

// TrajectoriesStatus is what the status page shows of a store of trajectories.
type TrajectoriesStatus struct {
	Path string `json:"path"`
	TrajectoriesState
	Appended      int64   `json:"appended"` // steps
	Samples       int64   `json:"samples"`
	SampleSeconds float64 `json:"sample_seconds"` // that these took
	Drawn         int64   `json:"drawn"`          // steps
	Hot           int64   `json:"rows_hot"`       // that samples read from the mirror
	Cold          int64   `json:"rows_cold"`      // and from the table
	Leases        int64   `json:"leases"`
	Acks          int64   `json:"acks"`
	Prioritized   int64   `json:"prioritized"`
	Faults        int64   `json:"faults"` // operations that damage or the disk failed
}

// Status reads the store for the status page.
func (t *Trajectories) Status() TrajectoriesStatus {
	count := func(n number) int64 { return t.own[n].Load() }
	return TrajectoriesStatus{
		Path: t.path, TrajectoriesState: t.survey.get(),
		Appended: count(trajectorySteps), Samples: count(trajectorySamples), SampleSeconds: float64(count(trajectorySampleNanos)) * nano,
		Drawn: count(trajectoryDrawnSteps), Hot: count(trajectoryRowsHot), Cold: count(trajectoryRowsCold),
		Leases: count(trajectoryLeases), Acks: count(trajectoryAcks), Prioritized: count(trajectoryRanked), Faults: t.faults(),
	}
}

func (t *Trajectories) numbers() numbers {
	st, n := t.survey.get(), t.read()
	for at, value := range map[number]int64{
		trajectoryEpisodesOpen: st.Open, trajectoryEpisodesEnded: st.Ended, trajectoryEpisodesLost: st.Lost, trajectoryEpisodesSuperseded: st.Superseded,
		trajectoryStepsOpen: st.OpenSteps, trajectoryStepsEnded: st.EndedSteps, trajectoryStepsHidden: st.HiddenSteps,
		trajectoryColdRows: st.Rows - st.HotRows, trajectoryHotRows: st.HotRows, trajectoryHotBytes: st.HotBytes,
		trajectoryLogBytes: st.LogBytes, trajectoryTableBytes: st.TableBytes, trajectorySheetRows: st.SheetRows,
		trajectoryLeasedNow: st.Leased, trajectoryLeasedStepsNow: st.LeasedSteps, trajectoryTags: st.Tags, trajectoryBehind: st.Behind,
	} {
		n[at] = float64(value)
	}
	return n
}
