// Package params keeps versions of named sets of tensors, the weights of models, in one directory that several processes use at
// the same time. A version is seen whole or not at all, never changes, and shares with all others the tensors that are the same.
//
//	Save, Open, Load, Push, SetTag, Diff, Verify, Collect      any goroutine of any process
//	  |            |
//	catalog      weights     which versions and tags a name has | one of them, kept from the collector while it is open
//	  |            |
//	manifest  ---- load      names, types, shapes and places of the tensors | reads into the caller's memory
//	  |            |
//	pack         chain       the bytes, each stored once, in files that are never changed | the layers over them
//
// # Layers
//
// Above metrics, vfs, procs, statefile, memory, delta and pack; below capi. It knows nothing of what a dtype means but how wide its elements are, which
// delta says: a tensor is bytes with a tag and a shape.
//
// # Directory
//
//	parameters             format version and identity
//	GATE                   the gate: passed alone to change the catalog or to remove files, together to open a version
//	catalog/<name>.cat     versions and tags of a name, replaced as a whole; bytes other than letters, digits and -_. are %XX
//	manifests/<id>.pm      the tensors of a version
//	packs/<id>.pk          bytes of tensors
//	*/<save>.*.tmp         files of a save, or of a transaction of many ranks, that has not been published
//	leases/                tokens: save-<id> of a save or a transaction, <manifest>-<id> of an open version
//
// Numbers in all files are little-endian, checksums XXH3. Identities are random, so files of two stores can be put side by side. Nothing in them names a machine or a path.
//
// # Manifest, format version 1
//
//	byte  0  8  magic 89 "PMAN" 0d 0a 1a
//	      8  4  format version
//	     12  4  number of columns
//	     16 16  checksum (128 bits) of all but these 16 bytes
//	     32     length of each column, 8 bytes; then the columns, one behind the other
//
//	columns, of tensors in the order of their names:
//	 0 ends of names 8   1 names   2 dtype 2   3 dtypes, each ended by a line feed   4 ends of shapes 4   5 dimensions 8
//	 6 object 4   7 tie 4, not 0 for tensors that were one in memory   8 place among those that were saved 4
//	of objects:
//	 9 pack 4   10 place 8   11 length 8   12 checksums of blocks 16
//	of packs:
//	13 identity 16
//
// Format version 2 has more columns; it is written where an object has layers, and version 1 where none has:
//
//	of objects:
//	14 ends of layers 4   15 versions since the anchor 4   16 identity of the raw bytes 16, zeros without layers
//	of layers:
//	17 pack 4   18 place 8   19 length 8   20 identity of the object that it leads from 16   21 and of the one that it leads to 16
//
// There is no bound on the number of tensors but 2^32, and nothing in it is executed.
//
// # Coded object, format version 1
//
// A layer is a coded object in a pack, where it is an object as others are: its bytes have their checksums in the index.
//
//	byte  0  8  magic 89 "PDLT" 0d 0a 1a
//	      8  4  format version
//	     12  4  bytes of an element
//	     16  8  length of the object that it makes
//	     24  8  checksum (64 bits) of the head, but for these 8 bytes
//	     32     of each block: code 4, length of the payload 4, checksum of the payload 8, checksum of the block of the base 16,
//	            checksum of what it becomes 16
//	      i     payloads; engine/delta has the codes
//
// # Chains
//
// Of a tensor that has the same name, dtype and length in the base of a save, and of which little changed, the elements that did
// are stored, as a layer over the base. A reader applies layers to raw bytes, the anchor, block by block while the processor has
// the block in its cache:
//
//	version   1       2      3    ...   8       9            10    ...   65
//	          anchor  step   step       step    star, step   step        anchor, step
//
// Every eighth version is told from the anchor, by a star, so that none is more than a star and seven steps away. Its step is
// stored as well, for those who have the version before in memory. A tensor becomes an anchor anew after 64 versions, or when its
// star is more than 25 % of it, or the layers that a reader would apply more than 50 %; that happens at the save that finds it. Of
// a tensor whose first blocks changed in more than 60 % of their elements no more of the base is read.
//
// A manifest names all layers that its version needs, so a reader opens no other manifest, the collector knows what to keep, and
// any version can be deleted whatever was told from it. Each layer names the blocks that it leads from and to: [Weights.Pull]
// leaves alone what is up to date, and refuses what is neither. A base that is damaged is none: the save stores tensors as they are.
//
// # Snapshots
//
// With Options.Keep the bytes that were saved last stay in memory, outside the Go heap, one copy of each name. A save compares with
// them instead of reading the base, and brings them up to date while it does; one that fails drops them, and the next reads the
// disk. It costs the memory of the model, and saves the reading of as much from the disk in each save.
//
// # What is the same
//
// Two objects are one if they have the same length and the same checksums of all blocks (128 bits each): that guards against
// chance, not against somebody who makes collisions on purpose. A save hashes what it is given, and writes what no pack has.
//
// # Many ranks
//
// A version that many ranks write begins as manifests/<id>.begun.tmp, with its name and the number of ranks. A part is written
// as a save is, into packs/<id>.<pack>.tmp, and is there once its manifest has the name manifests/<id>.part-<rank>.tmp. The
// commit reads the manifests of all parts, makes one of them, and publishes it as a save does, with the packs. Whoever began
// holds the only lease, so that files of ranks that died go when it ends; what a part shares, the collector keeps until then.
//
// Parts are told from the base that the transaction begins with: whole tensors as in a save, and boxes where the base has the same
// box of the tensor, for that has the same name. Whoever cuts a tensor in another way stores it as it is.
//
// A part of a tensor is a row of the manifest like any other, with the name 00 "box:" <shape> ":" <offsets> ":" <name>, whose
// numbers have an x in between: shape of the tensor, and where in it the box begins. The shape of the row is that of the box.
//
// # Rows
//
// A slice of columns is rows at equal distances, here and in memory ([Rows]). Blocks that they lie in are read several at a time into
// buffers, checked as a whole, and only what is wanted is copied, so a slice takes no memory but its own.
//
// # Push
//
// [Weights.Push] makes the next version of a name of another store of one of this: a save whose objects, raw bytes and layers alike,
// come from packs here as they are, those left out that the other store has. The catalog there remembers the manifest that a version
// was first published with, its origin, so that none is brought twice, and by which its base is found.
//
// # Order of writing
//
// Packs and manifest are written under names that end in .tmp and synced. Then, alone behind the gate: they are renamed, their
// directories synced, and the catalog of the name is replaced and synced, which is the commit. If a pack that the version shares was removed
// meanwhile, the save is done anew. A save that dies leaves such files, or whole ones that no catalog names; the next
// [Store.Collect] removes them.
//
// # Locks
//
// Only the gate, for moments: a save is behind it while it publishes, and no reader waits for the writing of bytes. It is the
// kernel's (flock), so it opens when its holder dies, and serves goroutines as well as processes.
//
// # Waiting
//
// [Store.Wait] is told by the kernel (inotify) that a file of the catalog was replaced, by any process of the machine, and reads the
// catalog then. Of what another machine writes to a shared file system it tells nothing: the catalog is looked at every 5 seconds
// besides. One watch serves all who wait, from the first that does until the store is closed.
//
// # Why the catalog is no bucket
//
// A bucket belongs to one process. Here a trainer publishes, servers read and somebody at a shell sets a tag, all at once.
//
// # What a crash costs
//
// Of the process: the save that had not returned; it may have been published. Of the machine: the same; what Save, SetTag or
// Delete returned from is on the disk. A version that a catalog names is whole at any time.
//
// # Failures
//
// Every read is checked, block by block, and an error names tensor, file and place. A full disk fails the save and gives back
// what it took. A catalog or manifest that is damaged is an error of every call that needs it, and stops the collector, which
// cannot know then what is needed.
package params
