package metrics

// Names of the metrics of stores of parameters that code refers to.
const parametersDuration = "persisting_params_duration_seconds"

// describedParameters are the metrics of a store of parameters.
var describedParameters = []Description{
	{
		Name: parametersDuration, Type: HistogramType, Of: OfParameters, Labels: []string{"operation"}, buckets: longTimes,
		Help:  "Duration of what succeeded.",
		Notes: "`part` and `commit` are of versions that many ranks write. `save` is the engine's part of it: with `wait=False` the copy before it is not in it.",
	},
	{
		Name: "persisting_params_errors_total", Type: CounterType, Of: OfParameters, Labels: []string{"operation", "kind"},
		Help:   "What failed, by kind of error.",
		Notes:  "`refused` is a fault of the caller, such as a name that there is not, or a version that is newer than the one expected; `corrupt` and `storage` want a person. `survey` is the look at the directory for these metrics.",
		series: errorSeries(append(parametersOperations, Survey)...),
	},
	{
		Name: "persisting_params_saved_bytes_total", Type: CounterType, Of: OfParameters, Labels: []string{"as"},
		Help:  "Bytes of the tensors of versions that were saved, by how they were stored.",
		Notes: "`shared`: the store had them already. `changes`: what changed since an earlier version was stored. `whole`: all of them was. Versions of many ranks count at their commit, of which tensors that are cut into boxes count as these.",
		series: []series{
			{number: paramsSharedBytes, labels: []string{"shared"}},
			{number: paramsChangedBytes, labels: []string{"changes"}},
			{number: paramsWholeBytes, labels: []string{"whole"}},
		},
	},
	{
		Name: "persisting_params_written_bytes_total", Type: CounterType, Of: OfParameters,
		Help:   "Bytes that versions added to the store.",
		Notes:  "What `persisting_params_saved_bytes_total` has more was saved by sharing tensors and by storing changes.",
		series: []series{{number: paramsWrittenBytes}},
	},
	{
		Name: "persisting_params_read_bytes_total", Type: CounterType, Of: OfParameters, Labels: []string{"operation"},
		Help:  "Bytes that were read for callers.",
		Notes: "`load`: of tensors. `pull`: of changes, and of tensors that had to be read as a whole. `verify`: of all that it checked.",
		series: []series{
			{number: paramsLoadedBytes, labels: []string{string(Load)}},
			{number: paramsPullReadBytes, labels: []string{string(Pull)}},
			{number: paramsVerifiedBytes, labels: []string{string(Verify)}},
		},
	},
	{
		Name: "persisting_params_pulled_bytes_total", Type: CounterType, Of: OfParameters,
		Help:   "Bytes of tensors in memory that were brought up to date by a pull.",
		series: []series{{number: paramsPulledBytes}},
	},
	{
		Name: "persisting_params_verify_faults_total", Type: CounterType, Of: OfParameters,
		Help:   "Faults that verify has found.",
		series: []series{{number: paramsFaults}},
	},
	{
		Name: "persisting_params_collected_files_total", Type: CounterType, Of: OfParameters,
		Help:   "Files that gc has removed.",
		series: []series{{number: paramsCollectedFiles}},
	},
	{
		Name: "persisting_params_collected_bytes_total", Type: CounterType, Of: OfParameters,
		Help:   "Bytes of the files that gc has removed.",
		series: []series{{number: paramsCollectedBytes}},
	},
	{
		Name: "persisting_params_names", Type: GaugeType, Of: OfParameters,
		Help:   "Names that have a version.",
		series: []series{{number: paramsNames}},
	},
	{
		Name: "persisting_params_versions", Type: GaugeType, Of: OfParameters,
		Help:   "Versions of all names.",
		series: []series{{number: paramsVersions}},
	},
	{
		Name: "persisting_params_size_bytes", Type: GaugeType, Of: OfParameters, Labels: []string{"of"},
		Help:  "Sizes of the store.",
		Notes: "`tensors`: of all versions, as if each were there as a whole. `stored`: what these added. `disk`: packs and manifests; what it has more than `stored`, `gc` may remove, unless it is of versions that are open or lies beside what is needed.",
		series: []series{
			{number: paramsTensorBytes, labels: []string{"tensors"}},
			{number: paramsStoredBytes, labels: []string{"stored"}},
			{number: paramsDiskBytes, labels: []string{"disk"}},
		},
	},
	{
		Name: "persisting_params_newest_timestamp_seconds", Type: GaugeType, Of: OfParameters,
		Help:   "Time at which the newest version of any name was saved, 0 without one.",
		series: []series{{number: paramsNewest}},
	},
	{
		Name: "persisting_params_leases", Type: GaugeType, Of: OfParameters,
		Help:   "Leases in the directory: of versions that are open and of saves, in any process.",
		Notes:  "Those of processes that died are among them until a gc finds that out.",
		series: []series{{number: paramsLeases}},
	},
	{
		Name: "persisting_params_open_versions", Type: GaugeType, Of: OfParameters,
		Help:   "Versions that this process has open, which gc keeps.",
		series: []series{{number: paramsOpen}},
	},
	{
		Name: "persisting_params_transactions", Type: GaugeType, Of: OfParameters,
		Help:   "Versions of many ranks that this process has begun, and not committed or aborted.",
		series: []series{{number: paramsBegun}},
	},
}
