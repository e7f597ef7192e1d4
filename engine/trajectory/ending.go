package trajectory

import (
	"bytes"
	"encoding/json"
)

// ParseEnding reads how an episode ends from a JSON object with steps, terminated, truncated and metadata, which is an object itself.
func ParseEnding(text []byte) (Ending, error) {
	var given struct {
		Steps      int64           `json:"steps"`
		Terminated bool            `json:"terminated"`
		Truncated  bool            `json:"truncated"`
		Metadata   json.RawMessage `json:"metadata"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&given); err != nil {
		return Ending{}, invalid("ending: JSON: %w", err)
	}
	if len(given.Metadata) > 0 && !bytes.HasPrefix(given.Metadata, []byte("{")) {
		return Ending{}, invalid("ending: metadata is %.40s, want an object", given.Metadata)
	}
	return Ending{
		Steps: given.Steps, Terminated: given.Terminated, Truncated: given.Truncated, Metadata: string(given.Metadata),
	}, nil
}
