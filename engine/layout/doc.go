// Package layout knows what the directory of a bucket is made of.
//
//	{dir}/bucket.json     format version and identity of the bucket
//	{dir}/LOCK            see package statefile
//	{dir}/data.lance/, table.mark, table.sums, tags.json   see package table
//	{dir}/wal/            the write-ahead log, see package wal
//	{dir}/puts.ring       puts that call nobody, see package ring
//	{dir}/consumers.json  offsets that consumers committed
//	{dir}/marks/          the rows that tasks have consumed, see packages marks and journal
//	{dir}/times.json      when rows came into the table
//
// # Layers
//
// Above table, statefile and ring, whose names it adds to its own. Below the bucket, which writes these files, and
// package inspect, which reads them without a bucket.
//
// All that ends in .json is a small file of package statefile with JSON in it, and was text alone up to version 0.4.
//
// # Concurrency
//
// There is nothing here that changes.
//
// # What a crash costs
//
// bucket.json is there as a whole or not at all. It is the first file of a new bucket, so that a directory which has
// others and not this one has lost it.
package layout
