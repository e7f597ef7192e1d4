package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// module is this one; below it, looked is what has no circles.
const module = "github.com/persisting/persisting/"

var looked = []string{"./...", "../wal/...", "../capi", "../vfs/...", "../metrics/...", "../logs/..."}

// listed is what the go command says of a package.
type listed struct {
	ImportPath, Dir, Export string
	CompiledGoFiles         []string // with what cgo has made of those that use it
	DepOnly                 bool
}

// list returns the packages that are looked at, and where the export data of all is that they import. Under the race detector
// these are those of the tests that run beside this one, so nothing is compiled for it.
func list(t *testing.T) (own []listed, exports map[string]string) {
	t.Helper()
	args := []string{"list", "-deps", "-export", "-compiled", "-json=ImportPath,Dir,Export,CompiledGoFiles,DepOnly"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, looked...)...).Output()
	if err != nil {
		t.Fatal(err, string(stderr(err)))
	}
	exports = map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return own, exports
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			own = append(own, p)
		}
	}
}

func stderr(err error) []byte {
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

// graph has the files of a package, and which others they use: a name of the package, a method or a field that is declared there.
type graph map[string]map[string]bool

// uses type-checks a package and returns how its files use each other.
func uses(fset *token.FileSet, path string, files []*ast.File, imports types.Importer) (graph, error) {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: imports}
	pkg, err := conf.Check(path, fset, files, info)
	if err != nil {
		return nil, err
	}
	g := graph{}
	for id, o := range info.Uses {
		if o.Pkg() != pkg || !declared(pkg, o) {
			continue
		}
		from, to := sourceOf(fset, id.Pos()), sourceOf(fset, o.Pos())
		if from == "" || to == "" {
			continue
		}
		if g[from] == nil {
			g[from] = map[string]bool{}
		}
		if from != to {
			g[from][to] = true
		}
	}
	return g, nil
}

// sourceOf returns the name of the file that a person wrote; none of what cgo has made.
func sourceOf(fset *token.FileSet, pos token.Pos) string {
	name := filepath.Base(fset.Position(pos).Filename)
	if strings.HasPrefix(name, "_cgo_") || !strings.HasSuffix(name, ".go") {
		return ""
	}
	return name
}

// declared says whether an object stands at the level of the package, or is a method or a field.
func declared(pkg *types.Package, o types.Object) bool {
	switch o := o.(type) {
	case *types.Func:
		return true
	case *types.Var:
		return o.IsField() || o.Parent() == pkg.Scope()
	}
	return o.Parent() == pkg.Scope()
}

// circle returns files that use each other in a circle, the first again at the end; none if there are none.
func (g graph) circle() []string {
	done := map[string]bool{}
	var visit func(file string, path []string) []string
	visit = func(file string, path []string) []string {
		if i := slices.Index(path, file); i >= 0 {
			return append(path[i:], file)
		}
		if done[file] {
			return nil
		}
		for _, next := range slices.Sorted(maps.Keys(g[file])) {
			if found := visit(next, append(slices.Clip(path), file)); found != nil {
				return found
			}
		}
		done[file] = true
		return nil
	}
	for _, file := range slices.Sorted(maps.Keys(g)) {
		if found := visit(file, nil); found != nil {
			return found
		}
	}
	return nil
}

// TestNoCircleOfFiles holds that the files of a package can be read in an order in which each uses only those before it.
func TestNoCircleOfFiles(t *testing.T) {
	own, exports := list(t)
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, p := range own {
		var files []*ast.File
		for _, name := range p.CompiledGoFiles {
			if !filepath.IsAbs(name) {
				name = filepath.Join(p.Dir, name)
			}
			f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		g, err := uses(fset, p.ImportPath, files, imports)
		if err != nil {
			t.Fatal(err)
		}
		if found := g.circle(); found != nil {
			t.Errorf("%s: %s: move what one of them uses of the next to the file of its noun",
				strings.TrimPrefix(p.ImportPath, module), strings.Join(found, " uses "))
		}
	}
}

func TestACircleIsFound(t *testing.T) {
	const a = "package p\ntype A struct{ n int }\n"
	for name, c := range map[string]struct {
		sources []string
		want    string
	}{
		"none":     {[]string{a, "package p\nfunc (a *A) add() { a.n++ }"}, "[]"},
		"function": {[]string{a + "func f() { g() }", "package p\nfunc g() {}; var _ A"}, "[0.go 1.go 0.go]"},
		"method":   {[]string{a + "func (a *A) f() { a.g() }", "package p\nfunc (a *A) g() {}"}, "[0.go 1.go 0.go]"},
		"field":    {[]string{a + "func f(b B) int { return b.m }", "package p\ntype B struct{ A; m int }"}, "[0.go 1.go 0.go]"},
		"of three": {[]string{"package p\nfunc f() { g() }", "package p\nfunc g() { h() }", "package p\nfunc h() { i() }", "package p\nfunc i() { g() }"}, "[1.go 2.go 3.go 1.go]"},
	} {
		fset := token.NewFileSet()
		var files []*ast.File
		for i, source := range c.sources {
			f, err := parser.ParseFile(fset, fmt.Sprintf("%d.go", i), source, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		g, err := uses(fset, "p", files, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		if got := fmt.Sprint(g.circle()); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
