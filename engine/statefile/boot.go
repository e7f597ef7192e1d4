package statefile

import (
	"encoding/hex"
	"os"
	"strings"
)

// BootID is a number that is another one after the machine was started again; zeros where there is none.
func BootID() (id [16]byte) {
	// What a mapped file has is safe from the end of a process, and not from that of the machine.
	// By this number an opening tells which of the two it was.
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(b) != len(id) {
		return [16]byte{}
	}
	return [16]byte(b)
}
