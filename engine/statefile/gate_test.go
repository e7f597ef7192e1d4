package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestGate lets several in together, and one alone only when they have left.
func TestGate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "LOCK")
	if _, err := Pass(path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	pass := func(alone bool) *Gate {
		g, err := Pass(path, alone)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	leave := func(g *Gate) {
		if err := g.Leave(); err != nil {
			t.Error(err)
		}
	}
	leave(pass(true))
	one, two := pass(false), pass(false)
	inside := make(chan *Gate)
	go func() {
		g, err := Pass(path, true)
		if err != nil {
			t.Error(err)
		}
		inside <- g
	}()
	for _, g := range []*Gate{one, two} {
		select {
		case <-inside:
			t.Fatal("one is alone beside others")
		case <-time.After(20 * time.Millisecond):
		}
		leave(g)
	}
	leave(<-inside)
}

// TestTokens tells those that somebody has from those that were left.
func TestTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	token, err := NewToken(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewToken(path); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if alive, err := TokenLives(path); !alive || err != nil {
		t.Errorf("%v, %v", alive, err)
	}
	if err := token.Remove(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if alive, err := TokenLives(path); alive || err != nil {
			t.Errorf("%v, %v", alive, err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a token that was left is still there")
	}
}
