package main

import (
	"encoding/json"

	"github.com/persisting/persisting/engine/bucket"
	"github.com/persisting/persisting/engine/table"
)

var (
	bucketDropIndex = (*bucket.Bucket).DropIndex
	bucketIndexes   = (*bucket.Bucket).Indexes
)

func bucketCreateIndex(b *bucket.Bucket, index []byte) error {
	spec, err := table.ParseIndexSpec(index)
	if err != nil {
		return err
	}
	return b.CreateIndex(spec)
}

func bucketIndexStats(b *bucket.Bucket, name string) (json.RawMessage, error) {
	text, err := b.IndexStatistics(name) // JSON already, of which members come and go with versions of Lance
	return json.RawMessage(text), err
}
