package wal_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/persisting/persisting/wal"
	"github.com/persisting/persisting/wal/segment"
)

const (
	childDir      = "WAL_TEST_CHILD_DIR"
	childInterval = "WAL_TEST_CHILD_INTERVAL"
)

// child appends until it is killed and prints what was acknowledged. Every row says what it is.
func child() {
	interval, err := time.ParseDuration(os.Getenv(childInterval))
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	check(err)
	l, _, err := wal.Open(wal.Options{Dir: os.Getenv(childDir), SegmentBytes: 64 << 10, SyncInterval: interval}, 0, nil)
	check(err)
	fmt.Println("opened at", l.Appended())
	for i := 0; ; i++ {
		add := l.Append
		if i%3 == 0 {
			add = l.AppendNow
		}
		at := l.Appended()
		body := content(0, at, 10+i%7*100)
		first, err := add([]byte{byte(at >> 9)}, [][]byte{[]byte(body)}, 1, nil)
		check(err)
		if i%4 == 0 {
			check(l.Wait(background, first+1))
			fmt.Println("acknowledged", first+1)
		}
	}
}

// TestKill kills a process at random moments, many times over on one log.
func TestKill(t *testing.T) {
	rounds := 15
	if *slow {
		rounds = 500
	}
	for name, interval := range map[string]time.Duration{"synced": 0, "background": 2 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			acknowledged, recovered := int64(0), int64(0)
			for round := range rounds {
				acknowledged = max(acknowledged, killChild(t, path, interval))
				next := int64(0)
				report, err := wal.Verify(wal.Options{Dir: path}, 0, func(e segment.Entry) error {
					if e.First != next || string(e.Body) != content(0, e.First, len(e.Body)) {
						return fmt.Errorf("row %d instead of row %d: %.40q", e.First, next, e.Body)
					}
					next += e.Rows
					return nil
				})
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if next < acknowledged || next < recovered || next != report.End {
					t.Fatalf("round %d: %d rows, %d were acknowledged, %d were there before", round, next, acknowledged, recovered)
				}
				recovered = next
			}
			if acknowledged == 0 {
				t.Fatal("no child got anything done")
			}
		})
	}
}

// killChild runs a child for a random time and returns what it saw acknowledged.
func killChild(t *testing.T, path string, interval time.Duration) (acknowledged int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+path, childInterval+"="+interval.String())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var row int64
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %d", &row); err == nil {
			acknowledged = row
		}
	}
	_ = cmd.Wait()
	if stderr.Len() > 0 {
		t.Fatal(stderr.String())
	}
	return acknowledged
}
