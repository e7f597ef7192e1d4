package main

import (
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
