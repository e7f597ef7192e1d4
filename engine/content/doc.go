// Package content keeps values by what they are: each is there once, named by its SHA-256, however often it is kept. Steps of
// trajectories name images and prompts by it that many of them share.
//
//	Keep                    Take                Sweep
//	  |  names of values      |  rows by name     |  what nobody needs
//	index: name -> offset   (the same)          (the same)
//	  |
//	a bucket with the columns name and value
//
// # Layers
//
// Above bucket, to which it leaves the files; below trajectory, which knows who names a value.
//
// # Directory
//
// That of the bucket, made by the first value. A row has the name, 32 bytes, and the value. Where two rows have one name, the later
// one counts: the other was removed, and a failure of the power took that back.
//
// # Order of writing
//
// A name is given out when its value is on disk, so that what is written after it names nothing that a failure of the power takes.
// One sync serves all who wait for theirs, and a value that is there already needs none.
//
// # What is removed
//
// Sweep removes what its caller names, but nothing that was kept since the opening: who was given a name may be about to write it
// somewhere, and whoever writes one Holds it.
//
// # Concurrency
//
// Any number of goroutines. Keep and Sweep append and remove one after the other; nobody waits for a sync but those who need it.
//
// # What a crash costs
//
// Values whose names were not written anywhere stay.
package content
