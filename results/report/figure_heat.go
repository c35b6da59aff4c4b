package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"

	"assay/eval"
	"assay/eval/stat"
	"assay/results"
)

// heatMap is a chart of cells, each with a text and a level that colours it.
type heatMap struct {
	columns, rows []string
	cells         []heatCell
	ramp          []string // colours from the lowest level to the highest
	symmetric     bool     // the ramp's middle is level 0
}

// heatCell is a cell. Its level is NaN where it has no colour.
type heatCell struct {
	column, row int
	level       float64
	text, tip   string
}

// Both ramps are light throughout, under dark text in either theme. They differ
// in lightness, or in blue against orange, never in red against green.
var (
	rampKL   = []string{"#eff6f4", "#cbe5de", "#9ed0c4", "#6fb8a8", "#479e8c"}
	rampDiff = []string{"#86b9e1", "#d7e7f4", "#f6f6f4", "#f8ddc2", "#ec9f62"}
)

// option returns the chart's options.
func (h heatMap) option() (template.JS, error) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, c := range h.cells {
		if !math.IsNaN(c.level) {
			lo, hi = min(lo, c.level), max(hi, c.level)
		}
	}
	switch {
	case hi < lo:
		lo, hi = 0, 1
	case h.symmetric:
		hi = max(math.Abs(lo), math.Abs(hi), 1e-9)
		lo = -hi
	case hi == lo:
		hi = lo + 1
	}
	c := charts.NewHeatMap()
	c.SetGlobalOptions(tooltip(),
		charts.WithGridOpts(opts.Grid{Left: "106", Right: "12", Top: "30", Bottom: "8"}),
		charts.WithXAxisOpts(opts.XAxis{Type: "category", Data: h.columns, Position: "top"}),
		charts.WithYAxisOpts(opts.YAxis{Type: "category", Data: h.rows, Inverse: opts.Bool(true)}),
		charts.WithVisualMapOpts(opts.VisualMap{Type: "continuous", Show: opts.Bool(false), Dimension: "2",
			InRange: &opts.VisualMapInRange{Color: h.ramp}}))
	data := []opts.HeatMapData{}
	for _, x := range h.cells {
		level := x.level
		if math.IsNaN(level) {
			level = lo
		}
		data = append(data, opts.HeatMapData{Name: x.text, Value: []any{x.column, x.row, level, x.tip}})
	}
	c.AddSeries("cells", data, charts.WithLabelOpts(opts.Label{Show: opts.Bool(len(h.columns) < 16), Formatter: "{b}", Color: "#14171a", FontSize: 11}))
	return option(c, func(o map[string]any) {
		styleAxes(o)
		entries(o, "xAxis")[0]["data"], entries(o, "yAxis")[0]["data"] = h.columns, h.rows
		for _, k := range []string{"xAxis", "yAxis"} {
			a := entries(o, k)[0]
			a["axisTick"], a["axisLine"], a["splitLine"] = map[string]any{"show": false}, map[string]any{"show": false}, map[string]any{"show": false}
			a["axisLabel"] = map[string]any{"color": "--soft", "interval": 0, "width": 96, "overflow": "truncate"}
		}
		v := entries(o, "visualMap")[0]
		v["min"], v["max"], v["dimension"] = lo, hi, 2
		s := entries(o, "series")[0]
		s["itemStyle"] = map[string]any{"borderColor": "--card", "borderWidth": 2}
		for i, d := range entries(s, "data") {
			if math.IsNaN(h.cells[i].level) {
				d["visualMap"], d["itemStyle"] = false, map[string]any{"color": "--stripe"}
				d["label"] = map[string]any{"color": "--soft"}
			}
		}
	})
}

// level returns what colours a KL: its logarithm; none where it is 0 or unknown.
func level(kl stat.Estimate) float64 {
	if !kl.Known() || kl.Value <= 0 {
		return math.NaN()
	}
	return math.Log10(kl.Value)
}

// klText is a KL in a cell.
func klText(kl stat.Estimate) string {
	switch {
	case !kl.Known():
		return "unknown"
	case kl.Value == 0:
		return "0"
	}
	return number(kl.Value, digitsOf(kl.Value, 3))
}

// stratum returns a row's figures on one text, unknown where it has none.
func stratum(r results.Row, text string) eval.Summary {
	for _, s := range r.Summary.Strata {
		if s.Text == text {
			return s
		}
	}
	why := "not scored"
	if len(r.Summary.KL.Warnings) > 0 {
		why = r.Summary.KL.Warnings[0]
	}
	return eval.UnknownSummary(r.Variant.Name, why)
}

// strataFigures are KL and NLL of each variant on each text, beside the whole.
func strataFigures(in Input) ([]figure, error) {
	run := in.Contents.Run
	if len(run.Texts) < 2 {
		return nil, nil // the whole is the one text
	}
	kl := heatMap{ramp: rampKL, rows: variantNames(in.Rows)}
	nll := heatMap{ramp: rampDiff, symmetric: true, rows: kl.rows}
	numbers := []*numbersTable{{Head: []string{"variant", "text", "KL (nats)", "lo", "hi"}}, {Head: []string{"variant", "text", "NLL (nats)", "lo", "hi", "ΔNLL", "lo", "hi"}}}
	for i := range len(run.Texts) + 1 {
		heading := "all texts"
		if i > 0 {
			heading = run.Texts[i-1].Name
		}
		kl.columns = append(kl.columns, heading)
		for j, r := range in.Rows {
			s := r.Summary
			if i > 0 {
				s = stratum(r, run.Texts[i-1].Name)
			}
			what := r.Variant.Name + " on " + heading + "\n"
			kd := digitsOf(s.KL.Value, 3)
			kl.cells = append(kl.cells, heatCell{i, j, level(s.KL), klText(s.KL), what + "KL " + estimate(s.KL, kd) + " nats"})
			diff := math.NaN()
			if s.DNLL.Known() && r.Variant.Name != run.Protocol.Reference {
				diff = s.DNLL.Value
			}
			nll.cells = append(nll.cells, heatCell{i, j, diff, valueOf(s.NLL, 3), what + "NLL " + estimate(s.NLL, 4) + " nats\nΔNLL " + estimate(s.DNLL, 4)})
			klo, khi := ends(s.KL, kd)
			nlo, nhi := ends(s.NLL, 4)
			dlo, dhi := ends(s.DNLL, 4)
			numbers[0].Rows = append(numbers[0].Rows, []string{r.Variant.Name, heading, klText(s.KL), klo, khi})
			numbers[1].Rows = append(numbers[1].Rows, []string{r.Variant.Name, heading, valueOf(s.NLL, 4), nlo, nhi, valueOf(s.DNLL, 4), dlo, dhi})
		}
	}
	nll.columns = kl.columns
	perText := say("Texts: %v.", list(windowsOfTexts(run)))
	height, half := 46+rowHeight*len(in.Rows), len(run.Texts) < 6
	out := []figure{
		{ID: "strata-kl", Title: "KL divergence by text", Half: half, Height: height, Numbers: numbers[0],
			Caption: []sentence{say("Mean KL in nats; colour by its logarithm. A cell without colour is 0 or not known."), perText, basis(in)}},
		{ID: "strata-nll", Title: "NLL by text", Half: half, Height: height, Numbers: numbers[1],
			Caption: []sentence{say("Mean NLL in nats; colour by its difference to %v, orange where it is above. Texts differ far more than variants do.", name(run.Protocol.Reference)), perText, basis(in)}},
	}
	var err error
	for i, h := range []heatMap{kl, nll} {
		if out[i].Option, err = h.option(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// windowsOfTexts says how much of each text was scored.
func windowsOfTexts(run results.Run) []sentence {
	out := make([]sentence, len(run.Texts))
	for i, t := range run.Texts {
		out[i] = say("%v (%v)", name(t.Name), plural(t.Count, "window"))
	}
	return out
}

// grid is the affine variants of one rule by their three choices.
type grid struct {
	groups, nonExpert, expert []int
	at                        map[knobs]results.Row
}

// gridOf returns the grid of the rule that most affine rows have, and whether it
// is complete: every combination of at least two choices is there.
func gridOf(rows []results.Row) (grid, bool) {
	count := map[string]int{}
	rule := ""
	for _, r := range rows {
		if v := r.Variant; v.GroupSize > 0 {
			if count[v.Encoder]++; rule == "" || count[v.Encoder] > count[rule] {
				rule = v.Encoder
			}
		}
	}
	g := grid{at: map[knobs]results.Row{}}
	add := func(list []int, x int) []int {
		if slices.Contains(list, x) {
			return list
		}
		return append(list, x)
	}
	for _, r := range rows {
		v := r.Variant
		if v.GroupSize == 0 || v.Encoder != rule || !r.Summary.KL.Known() {
			continue
		}
		g.groups, g.nonExpert, g.expert = add(g.groups, v.GroupSize), add(g.nonExpert, v.NonExpertBits), add(g.expert, v.ExpertBits)
		g.at[knobs{v.GroupSize, v.NonExpertBits, v.ExpertBits}] = r
	}
	slices.Sort(g.groups)
	for _, l := range [][]int{g.nonExpert, g.expert} {
		slices.Sort(l)
		slices.Reverse(l)
	}
	n := len(g.groups) * len(g.nonExpert) * len(g.expert)
	return g, n > 3 && n == len(g.at)
}

// factorFigure is KL by the three choices, where every combination was scored.
func factorFigure(in Input) ([]figure, error) {
	g, complete := gridOf(in.Rows)
	if !complete {
		return nil, nil
	}
	f := figure{ID: "factors", Title: "KL divergence by choice", Height: 52 + 40*len(g.groups),
		Caption: []sentence{say("One cell a variant: group size down, bits of routed experts (e) and non-experts (n) across; mean KL in nats, colour by its logarithm. The table has the geometric mean over the other two choices, which is a ratio's natural mean."), basis(in)},
		Numbers: &numbersTable{Head: []string{"choice", "geometric mean of KL (nats)", "to the finest", "variants"}}}
	h := heatMap{ramp: rampKL}
	for j, group := range g.groups {
		h.rows = append(h.rows, fmt.Sprintf("group %d", group))
		column := 0
		for _, e := range g.expert {
			for _, n := range g.nonExpert {
				if j == 0 {
					h.columns = append(h.columns, fmt.Sprintf("e%d n%d", e, n))
				}
				r := g.at[knobs{group, n, e}]
				kl := r.Summary.KL
				h.cells = append(h.cells, heatCell{column, j, level(kl), klText(kl), r.Variant.Name + "\nKL " + estimate(kl, digitsOf(kl.Value, 3)) + " nats"})
				column++
			}
		}
	}
	g.means(f.Numbers)
	var err error
	f.Option, err = h.option()
	return []figure{f}, err
}

// means adds the geometric mean of KL for each choice to t.
func (g grid) means(t *numbersTable) {
	for _, c := range []struct {
		text   string
		levels []int
		of     func(knobs) int
	}{
		{"group size %d", g.groups, func(k knobs) int { return k.group }},
		{"non-experts of %d bits", g.nonExpert, func(k knobs) int { return k.nonExpert }},
		{"experts of %d bits", g.expert, func(k knobs) int { return k.expert }},
	} {
		first := math.NaN()
		for i, x := range c.levels {
			var logs []float64
			for k, r := range g.at {
				if c.of(k) == x {
					logs = append(logs, math.Log(r.Summary.KL.Value))
				}
			}
			slices.Sort(logs) // a map has no order, and sums of floats depend on it
			var sum float64
			for _, l := range logs {
				sum += l
			}
			mean := math.Exp(sum / float64(len(logs)))
			if i == 0 {
				first = mean
			}
			ratio := "not known"
			if first > 0 {
				ratio = "× " + number(mean/first, 2)
			}
			t.Rows = append(t.Rows, []string{fmt.Sprintf(c.text, x), number(mean, digitsOf(mean, 3)), ratio, integer(len(logs))})
		}
	}
}
