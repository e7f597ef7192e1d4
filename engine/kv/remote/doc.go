// Package remote gives other processes the verbs of a store of package kv, over a unix socket or TCP: a [Server] beside the store
// in the process that has it open, and a [Client] that is what the others have in its place, with the same methods ([kv.Blocks]).
// It stands above engine/kv and uses what that offers to everybody; the protocol stands in wire.go.
//
//	process of an engine                       process of the store
//	Client   lookups      one connection  -->  visitor   Exists, Prefix, Pin ...
//	         each block   one of a pool   -->  visitor   Lend and Send, Set
//	                                           Server    accepts, gives leases anew
//
// # Concurrency
//
// A client has one connection for lookups, and one for each block that it moves at a time, each for one request after the other,
// so that nothing waits behind a block. Blocks go from the segment file to the socket (sendfile) and from there into the reader's
// memory, who compares them with their checksums; sets are received into memory, and while those of others fill it a client
// waits. A connection has a goroutine; one whose client takes longer than 30 seconds to send or to take what it has begun is
// ended. Sets and deletes of one key are sent one after the other, in the order in which they were submitted. Locks: of the
// server, then of a connection, then those of the store.
//
// # Without a connection
//
// All connections of a client end when one does. Without any, keys are not there and sets fail, and the client connects anew.
//
// # Leases
//
// They are given for 10 seconds at most. Longer ones, and pins, which are leases without an end, are given anew while the
// connection lasts, so that they end with it, or with the server: what a crash of a client leaves is forgotten by itself.
//
// # What a crash costs
//
// Of a client: its pins, and leases beyond 10 seconds. Of the server: what a crash of the store costs, and its clients find
// nothing until one serves again. Neither gives the other a byte that was not set.
package remote
