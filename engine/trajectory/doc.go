// Package trajectory keeps the steps of episodes, as training by reinforcement reads and writes them, in one directory: what was
// acknowledged survives a crash, and each step is there once.
//
//	Begin, Append, Finish, CloseLost     Read, Steps, Episodes     Sampler     any goroutine of the process that has the store open
//	   |                                     |                        |
//	frame    events                      index                   law, drawer     columns | what happened | what is where | what is drawn
//	   |        |                            |                        |
//	steps    episodes                     (both)                   mirror        two buckets, see package bucket | copies of steps
//
//	Lease, Ack, Tag, Restore     what was given out, see package leases
//	Keep, Kept                   values that many steps share, see package content
//	Sheet                        where a writer puts steps without a call, see package sheet; Send appends many at once
//
// # Layers
//
// Above metrics, bucket, batch, content, journal, sheet, leases, mirror and priorities; below capi. It knows the types of
// columns, and not what they mean.
//
// # Directory
//
//	trajectories   format version of the store
//	steps/         a bucket: a row for each step, and one more for the last observation of an episode
//	episodes/      a bucket: a row for each thing that happened to an episode
//	leases/        a journal of what was given out, see package journal; made when something is
//	sheets/        steps that are on their way, one file for each writer; empty when the store is closed
//	mirror/        copies of the newest steps for samplers, from the first of these on; derived, see package mirror
//	content/       values that steps name by what they are, see package content; from the first of them on
//	priorities/    a journal, from the first priority on, see packages journal and priorities
//
// A step has the columns episode (the number of its episode), step (its place there, from 0), bootstrap (whether it is the last
// observation, which was followed by no action), version (of the policy that chose the action, -1 where that was not said) and
// those of the user, which the first append gives their types for good. Of a last observation only some have a value.
//
// An episode is what one attempt at one episode id brought. It begins with a row (state open) and ends with another (ended, lost or
// superseded), and one more where it is removed: the newest is the one that counts. Rows of steps stay where they are.
//
// # What is the same
//
// A step is named by episode id, attempt and place. One that is there already is held against what is there, bit by bit: the same
// is passed over, and another is a [DuplicateError], so that a writer that was told nothing can say all of it again. A place
// behind the next one is an error: an episode has no holes.
//
// # Order of writing
//
// The row of a begin is acknowledged before its number is given out, a step before Append returns, all steps of an episode before
// the row of its end is written. A value is on disk before its name is given out, so before any step that has it. What
// superseded steps alone name is removed beside the work of the next opening, once the row that says so is on disk.
//
// # Locks
//
//	Sheet.mu    what was taken of a sheet; held over a send
//	mirroring   who makes the mirror; held over the copying of what it lacks
//	writing   the order of appends to both buckets; held over an append, not over the wait for its acknowledgement
//	lent.mu   what was given out; held over no wait
//	Sampler.mu  a draw at a time; taken before the others
//	mu        the index; held for moments
//
// # What is drawn
//
// A sampler draws windows by their first rows, which the index says: only steps that are acknowledged, of episodes that are open or
// have ended. The numbers of rows, or of episodes, are drawn until one fits, so no law has to be told of what was appended, superseded
// or lost. What bounds a sampler (a condition, the newest rows, how often each is drawn) is asked of each row in the same place. A
// limit has draws wait for steps, by a bell that each append rings where somebody waits. What a step led to is the row that comes next in its episode, which may be a last observation.
//
// # What a crash costs
//
// Of the process: what was not acknowledged; what lies in a sheet, the next opening stores. Of the machine: what lies in a sheet,
// which is a second's at most, and what came within the sync interval, of each bucket by itself. So
// steps can be left whose begin is lost, which belong to nothing and are passed over (their number is not given again), and an end
// whose steps are not all there, which does not count: the episode is open, and its writer can go on.
package trajectory
