package report

import (
	"encoding/json"
	"fmt"
	"html/template"
	"math"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
	"github.com/go-echarts/go-echarts/v2/types"

	"assay/eval/stat"
	"assay/results"
)

// figure is a chart, its caption and the table of its numbers.
type figure struct {
	ID      string
	Title   string
	Half    bool // of the page's width where there is room
	Legend  bool // with the colours and symbols of variants
	Height  int  // CSS pixels
	Option  template.JS
	Why     sentence // why there is no chart, where Option is ""
	Caption []sentence
	Numbers *numbersTable
}

// numbersTable is what a chart shows, as a table.
type numbersTable struct {
	Head []string
	Rows [][]string // the first of each is the row's name
}

// figures returns the page's charts, in order.
func figures(in Input) ([]figure, error) {
	var out []figure
	for _, make := range []func(Input) ([]figure, error){sizeFigure, ratioFigure, speedFigures, strataFigures, factorFigure} {
		f, err := make(in)
		if err != nil {
			return nil, err
		}
		out = append(out, f...)
	}
	return out, nil
}

// chart is what go-echarts' charts have in common.
type chart interface {
	Validate()
	JSON() map[string]any
}

// option returns a chart's options as JSON for a script element: encoding/json
// escapes <, > and &. patch sets what go-echarts has no field for.
func option(c chart, patch func(option map[string]any)) (template.JS, error) {
	c.Validate()
	data, err := json.Marshal(c.JSON())
	if err != nil {
		return "", fmt.Errorf("report: chart: %w", err)
	}
	var o map[string]any
	if err := json.Unmarshal(data, &o); err != nil {
		return "", fmt.Errorf("report: chart: %w", err)
	}
	for _, k := range []string{"color", "title", "toolbox"} {
		delete(o, k)
	}
	o["animation"] = false
	o["backgroundColor"] = "transparent"
	o["legend"] = map[string]any{"show": false}
	o["textStyle"] = map[string]any{"fontFamily": "inherit"}
	tip, _ := o["tooltip"].(map[string]any)
	tip["confine"] = true
	if patch != nil {
		patch(o)
	}
	if data, err = json.Marshal(o); err != nil {
		return "", fmt.Errorf("report: chart: %w", err)
	}
	return template.JS(data), nil
}

// tooltip is every chart's: the page's script shows the last entry of a datum's
// value, a name and then lines.
func tooltip() charts.GlobalOpts {
	return charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "item", Formatter: types.FuncStr("__fn:tip")})
}

// entries returns a list of an option's, such as its series, for a patch.
func entries(o map[string]any, key string) []map[string]any {
	list, _ := o[key].([]any)
	out := make([]map[string]any, 0, len(list))
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// styleAxes gives axes the colours of the page's theme.
func styleAxes(o map[string]any) {
	for _, key := range []string{"xAxis", "yAxis"} {
		for _, a := range entries(o, key) {
			label, _ := a["axisLabel"].(map[string]any)
			if label == nil {
				label = map[string]any{}
			}
			label["color"] = "--soft"
			a["axisLabel"] = label
			a["nameTextStyle"] = map[string]any{"color": "--soft"}
			a["axisLine"] = merge(a["axisLine"], map[string]any{"lineStyle": map[string]any{"color": "--line"}})
			a["axisTick"] = merge(a["axisTick"], map[string]any{"lineStyle": map[string]any{"color": "--line"}})
			a["splitLine"] = merge(a["splitLine"], map[string]any{"lineStyle": map[string]any{"color": "--line"}})
		}
	}
}

// merge returns a with the entries of b.
func merge(a any, b map[string]any) map[string]any {
	m, _ := a.(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	for k, v := range b {
		m[k] = v
	}
	return m
}

// scale is an axis: its ends and where its labels stand.
type scale struct {
	lo, hi float64
	ticks  []float64
}

// linearScale returns an axis over [lo, hi] with about n steps of 1, 2 or 5 times
// a power of ten.
func linearScale(lo, hi float64, n int) scale {
	if hi <= lo {
		pad := math.Max(math.Abs(lo)*0.05, 1e-6)
		lo, hi = lo-pad, hi+pad
	}
	raw := (hi - lo) / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, m := range []float64{1, 2, 5} {
		if m*power >= raw {
			step = m * power
			break
		}
	}
	first, last := math.Floor(lo/step), math.Ceil(hi/step)
	s := scale{lo: first * step, hi: last * step}
	for i := first; i <= last; i++ {
		s.ticks = append(s.ticks, i*step)
	}
	return s
}

// logScale returns an axis over [lo, hi], both above 0, with labels at 1, 2 and 5
// times powers of ten, or at powers alone where that would be many.
func logScale(lo, hi float64) scale {
	s := scale{lo: lo / 1.15, hi: hi * 1.15}
	steps := []float64{1, 2, 5}
	if math.Log10(s.hi/s.lo) > 3.5 {
		steps = []float64{1}
	}
	for p := math.Floor(math.Log10(s.lo)); p <= math.Ceil(math.Log10(s.hi)); p++ {
		for _, m := range steps {
			if t := m * math.Pow(10, p); t >= s.lo && t <= s.hi {
				s.ticks = append(s.ticks, rounded(t))
			}
		}
	}
	return s
}

// rounded rids x of what binary powers of ten leave behind.
func rounded(x float64) float64 {
	p := math.Pow(10, 12-math.Ceil(math.Log10(math.Abs(x))))
	return math.Round(x*p) / p
}

// setTicks puts an axis' labels and lines where s has them.
func setTicks(axis map[string]any, s scale) {
	axis["axisLabel"] = merge(axis["axisLabel"], map[string]any{"customValues": s.ticks, "hideOverlap": true})
	axis["axisTick"] = merge(axis["axisTick"], map[string]any{"customValues": s.ticks})
}

// basis is the end of every caption: what the figures come from.
func basis(in Input) sentence {
	if in.Rows[0].Summary.Windows < 2 {
		return say("%v. One window: no intervals.", protocolLine(in))
	}
	return say("%v. Intervals: 95 %, from window means with Student's t.", protocolLine(in))
}

// variantNames returns the rows' names, an axis' categories.
func variantNames(rows []results.Row) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = r.Variant.Name
	}
	return out
}

// ends returns "lo" and "hi" of an interval for a numbers table.
func ends(e stat.Estimate, digits int) (lo, hi string) {
	switch {
	case !e.Known():
		return "unknown", "unknown"
	case !e.HasInterval():
		return "no interval", "no interval"
	}
	return number(e.Lo, digits), number(e.Hi, digits)
}

// valueOf returns a figure for a numbers table, or why there is none.
func valueOf(e stat.Estimate, digits int) string {
	if !e.Known() {
		return withheld(e).Main
	}
	return number(e.Value, digits)
}
