package trajectory

// standing is how far numbers of rows that are made of their priorities have come.
type standing struct {
	seen int64   // changes of priorities
	most float32 // the priority of rows that were given none
	low  int64   // rows before are drawn no more
	of   *filter // whose rows they are
}

// scores are such numbers, by row.
type scores interface {
	Len() int64
	Set(row int64, score float32)
	Add(scores ...float32)
	Clear()
}
