package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// #include "shim.h"
import "C"

// toJSON hands v out as JSON.
func toJSON(v any, out **C.char) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: write JSON: %w", errInternal, err)
	}
	*out = C.CString(string(text))
	return nil
}

// parseJSON reads the JSON of the argument name. Its members must all be known: a slip in a name would be a wish that is silently
// not met.
func parseJSON(name string, text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %s: JSON: %w", errArgument, name, err)
	}
	return nil
}
