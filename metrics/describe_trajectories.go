package metrics

// Names of the metrics of stores of trajectories that code refers to.
const trajectoriesDuration = "persisting_trajectory_duration_seconds"

// describedTrajectories are the metrics of a store of trajectories, beside those of its two buckets.
var describedTrajectories = []Description{
	{
		Name: trajectoriesDuration, Type: HistogramType, Of: OfTrajectories, Labels: []string{"operation"}, buckets: shortTimes,
		Help:  "Duration of what succeeded.",
		Notes: "As the engine sees it: steps that a writer puts into its sheet without a call are one `append`, when the sheet is stored.",
	},
	{
		Name: "persisting_trajectory_errors_total", Type: CounterType, Of: OfTrajectories, Labels: []string{"operation", "kind"},
		Help:   "What failed, by kind of error.",
		Notes:  "`refused` is a fault of the caller, such as a gap, a step that is there with another value, or a superseded attempt; `corrupt` and `storage` want a person.",
		series: errorSeries(append(trajectoriesOperations, Survey)...),
	},
	{
		Name: "persisting_trajectory_appended_total", Type: CounterType, Of: OfTrajectories, Labels: []string{"row"},
		Help:  "Steps and last observations that were stored; those that were there already are not counted.",
		Notes: "Their bytes are `persisting_record_bytes_total` of the bucket `steps`, whose topic is the store.",
		series: []series{
			{number: trajectorySteps, labels: []string{"step"}},
			{number: trajectoryFinals, labels: []string{"final_observation"}},
		},
	},
	{
		Name: "persisting_trajectory_episodes", Type: GaugeType, Of: OfTrajectories, Labels: []string{"state"},
		Help: "Attempts at episodes, by what became of them.",
		series: []series{
			{number: trajectoryEpisodesOpen, labels: []string{"open"}},
			{number: trajectoryEpisodesEnded, labels: []string{"ended"}},
			{number: trajectoryEpisodesLost, labels: []string{"lost"}},
			{number: trajectoryEpisodesSuperseded, labels: []string{"superseded"}},
		},
	},
	{
		Name: "persisting_trajectory_steps", Type: GaugeType, Of: OfTrajectories, Labels: []string{"state"},
		Help:  "Steps, by what became of their episode.",
		Notes: "`hidden` ones are of attempts that were lost or superseded: nobody draws them.",
		series: []series{
			{number: trajectoryStepsOpen, labels: []string{"open"}},
			{number: trajectoryStepsEnded, labels: []string{"ended"}},
			{number: trajectoryStepsHidden, labels: []string{"hidden"}},
		},
	},
	{
		Name: "persisting_trajectory_sheet_steps", Type: GaugeType, Of: OfTrajectories,
		Help:   "Steps that lie in the sheets of writers and are not stored yet.",
		series: []series{{number: trajectorySheetRows}},
	},
	{
		Name: "persisting_trajectory_rows", Type: GaugeType, Of: OfTrajectories, Labels: []string{"where"},
		Help: "Steps and last observations that samplers have in memory (`hot`), and those that they would read from the table (`cold`).",
		series: []series{
			{number: trajectoryHotRows, labels: []string{"hot"}},
			{number: trajectoryColdRows, labels: []string{"cold"}},
		},
	},
	{
		Name: "persisting_trajectory_size_bytes", Type: GaugeType, Of: OfTrajectories, Labels: []string{"of"},
		Help: "Sizes of the store: the logs and the tables of both buckets, and the mirror that samplers read from.",
		series: []series{
			{number: trajectoryLogBytes, labels: []string{"log"}},
			{number: trajectoryTableBytes, labels: []string{"table"}},
			{number: trajectoryHotBytes, labels: []string{"mirror"}},
		},
	},
	{
		Name: "persisting_trajectory_draws_total", Type: CounterType, Of: OfTrajectories,
		Help:   "Draws of samplers: steps, windows, or groups.",
		series: []series{{number: trajectoryDraws}},
	},
	{
		Name: "persisting_trajectory_drawn_steps_total", Type: CounterType, Of: OfTrajectories,
		Help:   "Steps that were drawn, padding included.",
		series: []series{{number: trajectoryDrawnSteps}},
	},
	{
		Name: "persisting_trajectory_rows_read_total", Type: CounterType, Of: OfTrajectories, Labels: []string{"from"},
		Help:  "Rows that samplers read from the mirror or from the table.",
		Notes: "Beside the steps that were drawn those that they lead to, and those of rewards.",
		series: []series{
			{number: trajectoryRowsHot, labels: []string{"mirror"}},
			{number: trajectoryRowsCold, labels: []string{"table"}},
		},
	},
	{
		Name: "persisting_trajectory_behind_steps", Type: GaugeType, Of: OfTrajectories,
		Help:   "Steps that the sampler with an order that drew last has before it.",
		Notes:  "How far consumption is behind production. Other samplers have no place.",
		series: []series{{number: trajectoryBehind}},
	},
	{
		Name: "persisting_trajectory_leases_total", Type: CounterType, Of: OfTrajectories,
		Help:   "Batches that were given out.",
		series: []series{{number: trajectoryLeases}},
	},
	{
		Name: "persisting_trajectory_leased_steps_total", Type: CounterType, Of: OfTrajectories,
		Help:   "Steps of the batches that were given out.",
		series: []series{{number: trajectoryLeasedSteps}},
	},
	{
		Name: "persisting_trajectory_acks_total", Type: CounterType, Of: OfTrajectories,
		Help:   "Batches that were acknowledged.",
		series: []series{{number: trajectoryAcks}},
	},
	{
		Name: "persisting_trajectory_pending_batches", Type: GaugeType, Of: OfTrajectories,
		Help:   "Batches that were given out and not acknowledged.",
		series: []series{{number: trajectoryLeasedNow}},
	},
	{
		Name: "persisting_trajectory_pending_steps", Type: GaugeType, Of: OfTrajectories,
		Help:   "Steps of the batches that were given out and not acknowledged.",
		series: []series{{number: trajectoryLeasedStepsNow}},
	},
	{
		Name: "persisting_trajectory_tags", Type: GaugeType, Of: OfTrajectories,
		Help:   "Tags of what was acknowledged.",
		series: []series{{number: trajectoryTags}},
	},
	{
		Name: "persisting_trajectory_priorities_total", Type: CounterType, Of: OfTrajectories,
		Help:   "Priorities that steps were given.",
		series: []series{{number: trajectoryRanked}},
	},
}
