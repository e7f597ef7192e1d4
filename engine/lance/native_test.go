package lance

import (
	"debug/elf"
	"errors"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lancedb/lancedb-go/pkg/contracts"
)

// The library exports what the header declares, what lancedb-go needs, and
// nothing else.
func TestExportedSymbols(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc and ELF")
	}
	live() // loads the library
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile(`\S*/libpersisting_native\.so`).FindString(string(maps))
	library, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	symbols, err := library.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var exported []string
	for _, s := range symbols {
		switch {
		case s.Section == elf.SHN_UNDEF:
		case strings.HasPrefix(s.Name, "pn_"):
			exported = append(exported, s.Name)
		case !strings.HasPrefix(s.Name, "simple_lancedb_") && s.Name != "lancedb_version_info_free":
			t.Errorf("%s is exported", s.Name)
		}
	}
	header, err := os.ReadFile("../../native/persisting_native.h")
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, m := range regexp.MustCompile(`(?m)^int32_t (pn_\w+)\(`).FindAllStringSubmatch(string(header), -1) {
		declared = append(declared, m[1])
	}
	slices.Sort(exported)
	slices.Sort(declared)
	if len(declared) == 0 || !slices.Equal(exported, declared) {
		t.Errorf("exported %v\ndeclared %v", exported, declared)
	}
}

type otherTable struct{ contracts.ITable }

type changedTable struct {
	contracts.ITable
	handle uintptr
}

// Should lancedb-go keep its handle elsewhere one day, that is an error.
func TestHandleOfAnotherLancedbGo(t *testing.T) {
	for _, table := range []contracts.ITable{nil, otherTable{}, &otherTable{}, &changedTable{handle: 1}} {
		if h, err := lancedbHandle(table); h != nil || !errors.Is(err, ErrInternal) || !strings.Contains(err.Error(), "v0.1.2") {
			t.Errorf("%T: %v, %v", table, h, err)
		}
	}
}
