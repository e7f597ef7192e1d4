// Package remote gives other processes the verbs of a store of package trajectory, over a unix socket or TCP: a [Server] beside the
// store in the process that has it open. Its clients are of Python, see persisting.trajectory._served: they need no engine, so a
// process that was forked, or that only loads data, can be one.
//
//	process of a writer or a trainer                     process of the store
//	most calls         one of a pool of connections  -->  visitor   Begin, Append, Steps, Lease, Tag ...
//	each sheet         a connection of its own       -->  visitor   Sheet, Send; Close when it ends
//	each sampler       a connection of its own       -->  visitor   Sampler, Sample into memory that is sent as it lies there
//
// # Layers
//
// Above trajectory, which offers what is asked for to everybody, and wire; below capi, which says what number an error has. The
// protocol stands in wire.go.
//
// # Concurrency
//
// A connection has a goroutine and is for one request after the other, so nobody waits behind another's disk. What a connection has
// made, a sheet or a sampler, is its own and ends with it.
//
// # Sheets
//
// A writer on the same machine maps the file of its sheet as one in the process of the store does, and puts steps there without a
// call. They survive the end of the writer, as the server stores what the sheet has when the connection ends, and that of the
// server, as the next opening stores it. One whose connection is lost, or that is on another machine, has a copy in memory, and
// sends it whole; steps that came with the file as well are passed over.
//
// # What a crash costs
//
// Of a client: what was not acknowledged. Of the server: what a crash of the store costs; who waits for an answer is told, and says
// the same again to the next one.
package remote
