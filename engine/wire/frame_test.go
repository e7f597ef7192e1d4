package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFrames(t *testing.T) {
	var sent []byte
	all := []Frame{{Op: 1, ID: 1}, {Op: 2, Status: 3, ID: 1 << 60, Content: []byte("content")}}
	for _, f := range all {
		sent = f.Encode(sent)
	}
	r, buffer := bytes.NewReader(sent), []byte(nil)
	for _, want := range all {
		got, err := ReadFrame(r, &buffer, 7)
		if err != nil || got.Op != want.Op || got.Status != want.Status || got.ID != want.ID || !bytes.Equal(got.Content, want.Content) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	if _, err := ReadFrame(r, &buffer, 7); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last one: %v", err)
	}
	for name, c := range map[string]struct {
		sent []byte
		want error
	}{
		"too long":  {all[1].Encode(nil), ErrProtocol},
		"too short": {make([]byte, HeadBytes), ErrProtocol},
		"cut short": {all[1].Encode(nil)[:HeadBytes+2], io.ErrUnexpectedEOF},
		"no head":   {sent[:5], io.ErrUnexpectedEOF},
	} {
		most := int64(7)
		if name == "too long" {
			most--
		}
		if _, err := ReadFrame(bytes.NewReader(c.sent), &buffer, most); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
