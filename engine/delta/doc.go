// Package delta says how a block of numbers became another: which of its elements changed, and by how much.
//
//	Coder.Encode(base, target) -> code, payload        Apply(payloads, base) -> last target, in place
//
// # Why
//
// A step of training at a small rate moves a weight by less than its 16 bits can show, so that about 99 % of them stay and those
// that change are anywhere, by one unit in the last place as a rule. Stores of chunks find nothing in that; what is kept here is
// the distance to the next change (a byte, mostly) and the signed difference in units of the last place (ulp, a byte), both by
// the Huffman code of Zstandard, which comes to 0.6 % of a model where XOR and Zstandard take 1.1 %.
//
// # Elements
//
// An element is 1, 2, 4 or 8 bytes, little-endian. Its bits are put in the order of the floating-point numbers that they are:
// negative ones are turned round, so that neighbours differ by 1. That is one to one, so NaNs with their payloads, -0.0 and
// infinities come back with every bit, and it holds for bf16, f16, f32, f64 and FP8 alike. What is no float is coded byte by byte.
//
// # Codes
//
// Numbers are little-endian. A stream is its length 4, then for each 128 KiB of it a length as stored 4 and so many bytes: the
// plain ones if they are as many, one that is repeated, or a Huffman table and four streams as the literals of Zstandard have
// them. None of these numbers ever changes.
//
//	0 same    nothing: the target is the base
//	1 raw     the target
//	2 sparse  a stream of gaps: how many elements stay before the next that changes, 255 for as many without a change after them;
//	          a stream of differences, int8, one for each change; the new values of those that are -128
//	3 plane   a stream of differences, int8, one for each element, 0 for those that stay; the new values of those that are -128
//
// Up to a fifth of the elements is told sparsely, up to three fifths as a plane, and whatever would not be smaller than 0.9 of the
// target is raw: a sparse block is the smaller one up to there, and is applied several times as fast.
//
// # Speed
//
// A block of 1 MiB is more than the cache next to a processor holds. [Apply] reads the streams of all payloads of a block, and then
// goes through the block once, a window at a time, with all of them: seven cost little more than one. Of a plane, four elements of
// 16 bits are changed at once. [Coder.Follow] makes a copy of the base follow without a pass over all of it.
//
// # Layers
//
// Below engine/params, above nothing: it reads no file and checks no sum. What is applied to another block than its base makes
// nonsense, though never a panic: whoever calls has made sure what the base is. A payload that makes no sense is an error, after
// which the block may hold anything.
//
// # Concurrency
//
// A [Coder] serves one goroutine at a time; [Apply] any number.
package delta
