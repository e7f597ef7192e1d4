package reference

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/persisting/persisting/metrics"
)

var update = flag.Bool("update", false, "write the files in docs/")

func TestDocsAreWhatTheListsSay(t *testing.T) {
	for name, want := range Files() {
		path := filepath.Join("..", "..", "docs", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != want {
			t.Errorf("docs/%s is not what the lists say: go test ./metrics/reference -update", name)
		}
	}
}

// described returns the name of the metric that a query means by a series, and
// whether there is one.
func described(series string) (string, bool) {
	for _, d := range metrics.Descriptions {
		names := []string{d.Name}
		if d.Type == metrics.HistogramType {
			names = []string{d.Name + "_bucket", d.Name + "_count", d.Name + "_sum"}
		}
		if slices.Contains(names, series) {
			return d.Name, true
		}
	}
	return "", false
}

var series = regexp.MustCompile(`persisting_\w+`)

func TestQueriesAndAlertsNameMetricsThatExist(t *testing.T) {
	shown := map[string]bool{}
	check := func(place, expr string) {
		found := series.FindAllString(expr, -1)
		if len(found) == 0 {
			t.Errorf("%s asks for nothing: %s", place, expr)
		}
		for _, s := range found {
			name, ok := described(s)
			if !ok {
				t.Errorf("%s asks for %s, which is no series", place, s)
			}
			shown[name] = true
		}
	}
	for _, row := range Rows {
		for _, p := range row.Panels {
			for _, q := range p.Queries {
				check(p.Title, q.Expr)
			}
		}
	}
	for _, d := range metrics.Descriptions {
		if !shown[d.Name] {
			t.Errorf("no panel shows %s", d.Name)
		}
	}
	for _, a := range Alerts {
		check(a.Name, a.Expr)
	}
}

func TestThePageNamesEveryMetric(t *testing.T) {
	for _, d := range metrics.Descriptions {
		if n := strings.Count(page(), "| `"+d.Name+"` |"); n != 1 {
			t.Errorf("%s is there %d times", d.Name, n)
		}
	}
}
