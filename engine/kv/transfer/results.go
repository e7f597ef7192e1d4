package transfer

// Results of a key of a batch; those above 0 are success.
const (
	OK      int8 = 1  // it was loaded, stored or changed
	Present int8 = 2  // it was stored with the same bytes before
	Absent  int8 = 0  // there is no such key
	Length  int8 = -1 // its block has another length than the buffer
	Damaged int8 = -2 // what was on the disk was not the block
	Failed  int8 = -3 // the disk failed
	Shed    int8 = -4 // the queue was full, or the deadline had passed
	Refused int8 = -5 // the admission did not take it
	Full    int8 = -6 // no segment could be emptied: all are pinned, leased or in use
	TooLong int8 = -7 // it does not fit into a segment
)
