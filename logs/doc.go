// Package logs hands log messages over to a reader that may be slow.
//
// A [Queue] keeps up to [Capacity] messages for whoever calls [Queue.Next]. Its
// [Queue.Logger] never waits for that reader: a message that finds the queue full is
// dropped and counted. Levels are those of each component, and a message below
// the level of its component is not even made.
//
// Messages with the attribute "operation" say how long a piece of work took. With
// tracing on they are kept whatever their level, marked, so that spans can be made
// of them; but where the attribute "asked" is true: whoever asked for the work knows
// himself how long it took, and for whom. Others have the attribute "thread": it is
// that of a caller, who asked for something else, or one of the engine.
//
// # Layers
//
// Above nothing of the project. Everything that logs is given a slog.Logger, and knows of no queue.
//
// # Concurrency
//
// A Queue may be used from any goroutine. Its lock is held for no more than an append or an exchange of two slices, so that a put that
// logs waits for no reader; levels are atomics, as a message that is not wanted takes no lock.
//
// # What a crash costs
//
// The messages that nobody has taken yet. They are in memory alone.
package logs
