package table

// The parts of a table in the directory of a store.
const (
	Dir       = "data.lance" // what Lance keeps
	MarkFile  = "table.mark" // see Marker
	SumsFile  = "table.sums" // checksums of the files in Dir
	TagsFile  = "tags.json"  // versions that tags name
	tagTemp   = "tag.tmp"    // a tag that is being written
	versions  = "_versions"  // in Dir
	transacts = "_transactions"
)
