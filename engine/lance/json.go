package lance

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth is how deep arrays and objects may nest. Lance's parser goes down
// the stack with them, and has no limit but its end.
const maxJSONDepth = 256

// CheckJSON says what is wrong with a text that is to be JSON, or that Lance
// would not give back as it is. It stores JSON in a binary form that keeps what
// JSON says but for the order of keys; yet it would turn an integer beyond 64 bits
// into a float, NaN and numbers beyond a float into null, and half a surrogate pair
// into other text, and it refuses keys that are there twice.
func CheckJSON(text string) error {
	s := jsonScanner{text: text}
	// First, as all that follows goes by bytes.
	if !utf8.ValidString(text) {
		return errors.New("not UTF-8")
	}
	err := s.value(0)
	if s.space(); err == nil && s.pos < len(text) {
		err = errors.New("more than one value")
	}
	if err != nil {
		return fmt.Errorf("%w, at byte %d", err, s.pos)
	}
	return nil
}

var errNotJSON = errors.New("not JSON")

// jsonScanner goes through one JSON text.
type jsonScanner struct {
	text string
	pos  int
}

func (s *jsonScanner) space() {
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.pos]) >= 0 {
		s.pos++
	}
}

// next skips white space and gives the byte after it, or 0 at the end.
func (s *jsonScanner) next() byte {
	s.space()
	if s.pos == len(s.text) {
		return 0
	}
	return s.text[s.pos]
}

func (s *jsonScanner) value(depth int) error {
	// This parser goes down the stack as well, so it stops where it would refuse the text anyway.
	if depth > maxJSONDepth {
		return fmt.Errorf("more than %d levels", maxJSONDepth)
	}
	switch c := s.next(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.items(']', func() error { return s.value(depth + 1) })
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range []string{"null", "true", "false"} {
		if strings.HasPrefix(s.text[s.pos:], word) {
			s.pos += len(word)
			return nil
		}
	}
	return errNotJSON
}

func (s *jsonScanner) object(depth int) error {
	var keys []string
	err := s.items('}', func() error {
		if s.next() != '"' {
			return errNotJSON
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		keys = append(keys, key)
		if s.next() != ':' {
			return errNotJSON
		}
		s.pos++
		return s.value(depth + 1)
	})
	if err != nil {
		return err
	}
	// Sorted and not a map: most objects have few keys, and this makes no garbage but the names.
	slices.Sort(keys)
	for i, key := range keys[min(1, len(keys)):] {
		if key == keys[i] {
			return fmt.Errorf("the key %q is there twice", key)
		}
	}
	return nil
}

// items reads what stands between the bracket at hand and the closing one.
func (s *jsonScanner) items(closing byte, item func() error) error {
	s.pos++
	if s.next() == closing {
		s.pos++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch s.next() {
		case closing:
			s.pos++
			return nil
		case ',':
			s.pos++
		default:
			return errNotJSON
		}
	}
}

// str reads a string and gives what it says.
func (s *jsonScanner) str() (string, error) {
	start := s.pos
	escaped := false
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			if !escaped {
				return s.text[start+1 : s.pos-1], nil
			}
			return unescape(s.text[start:s.pos])
		case c == '\\':
			escaped = true
			s.pos++
		case c < ' ':
			return "", errNotJSON
		}
	}
	return "", errNotJSON
}

func unescape(quoted string) (string, error) {
	var text string
	if json.Unmarshal([]byte(quoted), &text) != nil {
		return "", errNotJSON
	}
	if strings.ContainsRune(text, utf8.RuneError) && hasLoneSurrogate(quoted) {
		return "", errors.New("half a surrogate pair")
	}
	return text, nil
}

// hasLoneSurrogate looks through the escapes of a well-formed JSON string.
func hasLoneSurrogate(quoted string) bool {
	surrogate := func(at int, from, to uint64) bool {
		if at+6 > len(quoted) || quoted[at:at+2] != `\u` {
			return false
		}
		code, err := strconv.ParseUint(quoted[at+2:at+6], 16, 16)
		return err == nil && from <= code && code < to
	}
	for i := 0; i < len(quoted); i++ {
		switch {
		case surrogate(i, 0xd800, 0xdc00) && surrogate(i+6, 0xdc00, 0xe000):
			i += 11
		case surrogate(i, 0xd800, 0xe000):
			return true
		case quoted[i] == '\\':
			i++
		}
	}
	return false
}

func (s *jsonScanner) number() error {
	start := s.pos
	for s.pos < len(s.text) && strings.IndexByte("+-.eE0123456789", s.text[s.pos]) >= 0 {
		s.pos++
	}
	text := s.text[start:s.pos]
	// Up to 18 digits are an integer of 64 bits whatever they are: almost all numbers end here.
	if len(text) < 19 && !strings.ContainsAny(text[1:], "+-.eE") && (text[0] > '0' || text == "0") {
		return nil
	}
	if !json.Valid([]byte(text)) {
		return errNotJSON
	}
	if strings.ContainsAny(text, ".eE") {
		f, _ := strconv.ParseFloat(text, 64)
		if math.IsInf(f, 0) {
			return fmt.Errorf("%.40s is beyond a float", text)
		}
		return nil
	}
	// One of the two has room for it, or Lance would make a float of it.
	_, signed := strconv.ParseInt(text, 10, 64)
	_, unsigned := strconv.ParseUint(text, 10, 64)
	if signed != nil && unsigned != nil {
		return fmt.Errorf("the integer %.40s is beyond 64 bits", text)
	}
	return nil
}
