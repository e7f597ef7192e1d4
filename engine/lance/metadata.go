package lance

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
)

// pairPrefix begins the keys of schema metadata that Lance does not get as they are: the
// key follows in base64, which the value is in as well.
const pairPrefix = "persisting:pair:"

// plainMetadata is what of m Lance holds: pairs of UTF-8, one for each key.
func plainMetadata(m arrow.Metadata) arrow.Metadata {
	return pick(m, func(i int) bool {
		key, value := m.Keys()[i], m.Values()[i]
		return utf8.ValidString(key) && utf8.ValidString(value) && m.FindKey(key) == i
	})
}

// pick is the pairs of m for which keep is true.
func pick(m arrow.Metadata, keep func(i int) bool) arrow.Metadata {
	var keys, values []string
	for i := range m.Len() {
		if keep(i) {
			keys, values = append(keys, m.Keys()[i]), append(values, m.Values()[i])
		}
	}
	// The same metadata, so that schemas that share it go on to.
	if len(keys) == m.Len() {
		return m
	}
	return arrow.NewMetadata(keys, values)
}

// MissingMetadata is the pairs of m whose keys have does not have, each key once.
func MissingMetadata(have, m arrow.Metadata) arrow.Metadata {
	return pick(m, func(i int) bool {
		key := m.Keys()[i]
		return have.FindKey(key) < 0 && m.FindKey(key) == i
	})
}

// storedMetadata is the metadata of a schema as Lance gets it.
func storedMetadata(m arrow.Metadata) arrow.Metadata {
	plain := plainMetadata(m)
	var keys, values []string
	for i := range m.Len() {
		key, value := m.Keys()[i], m.Values()[i]
		ours := strings.HasPrefix(key, pairPrefix) || strings.HasPrefix(key, "lance") // which Lance would heed
		if ours || plain.FindKey(key) < 0 {
			key = pairPrefix + base64.StdEncoding.EncodeToString([]byte(key))
			value = base64.StdEncoding.EncodeToString([]byte(value))
		}
		// Arrow allows a key twice and Lance does not. The first counts, as FindKey has it.
		if !slices.Contains(keys, key) {
			keys, values = append(keys, key), append(values, value)
		}
	}
	return arrow.NewMetadata(keys, values)
}

// originalMetadata is the inverse of storedMetadata.
func originalMetadata(m arrow.Metadata) (arrow.Metadata, error) {
	keys, values := slices.Clone(m.Keys()), slices.Clone(m.Values())
	for i, key := range keys {
		text, ok := strings.CutPrefix(key, pairPrefix)
		if !ok {
			continue
		}
		k, keyErr := base64.StdEncoding.DecodeString(text)
		v, err := base64.StdEncoding.DecodeString(values[i])
		if err := errors.Join(keyErr, err); err != nil {
			return m, fmt.Errorf("%w: schema metadata %s: %w", ErrCorrupt, key, err)
		}
		keys[i], values[i] = string(k), string(v)
	}
	return arrow.NewMetadata(keys, values), nil
}

func withKey(m arrow.Metadata, key, value string) arrow.Metadata {
	m = withoutKey(m, key)
	return arrow.NewMetadata(append(slices.Clone(m.Keys()), key), append(slices.Clone(m.Values()), value))
}

func withoutKey(m arrow.Metadata, key string) arrow.Metadata {
	i := m.FindKey(key)
	if i < 0 {
		return m
	}
	return arrow.NewMetadata(slices.Delete(slices.Clone(m.Keys()), i, i+1), slices.Delete(slices.Clone(m.Values()), i, i+1))
}
