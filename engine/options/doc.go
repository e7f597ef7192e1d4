// Package options says how a bucket is kept: what can be chosen, what is taken where nothing was, and what is refused.
//
// An option is a field of [Options] with its default, its name in JSON with what reads it, and its bounds, all in options.go; the
// errors tell of all that is wrong at once, each with what would be right. A value out of its bounds is refused and never brought
// into them: who asked for it would believe to have it.
//
// # Layers
//
// Above batch and lance, which know the compressions that there are, memory and metrics, which buckets share. Below the bucket.
//
// # Concurrency
//
// Options are a value: who opens a bucket has a copy, and nothing of it changes after that.
//
// # What a crash costs
//
// Nothing. No option is on disk: each opener says its own.
package options
