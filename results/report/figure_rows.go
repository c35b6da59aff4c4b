package report

import (
	"math"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
	"github.com/go-echarts/go-echarts/v2/types"

	"assay/eval/stat"
	"assay/results"
)

// rowHeight is a variant's height in a chart with a line for each, in pixels.
const rowHeight = 24

// lineChart is a chart that has a line for each variant.
type lineChart struct {
	rows   []results.Row
	figure func(results.Row) stat.Estimate
	unit   string // after a figure
	digits func(stat.Estimate) int
	axis   string // its name
	x      scale
}

// tip is a variant's tooltip.
func (l lineChart) tip(r results.Row) string {
	e := l.figure(r)
	text := r.Variant.Name + "\n" + estimate(e, l.digits(e)) + l.unit
	for _, w := range e.Warnings {
		text += "\n" + w
	}
	return text
}

// span returns the least and the greatest figure or interval end.
func (l lineChart) span() (lo, hi float64, ok bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, r := range l.rows {
		e := l.figure(r)
		if !e.Known() {
			continue
		}
		ok = true
		lo, hi = min(lo, e.Value), max(hi, e.Value)
		if e.HasInterval() {
			lo, hi = min(lo, e.Lo), max(hi, e.Hi)
		}
	}
	return lo, hi, ok
}

// globals are the options that such charts share.
func (l lineChart) globals() []charts.GlobalOpts {
	return []charts.GlobalOpts{tooltip(),
		charts.WithGridOpts(opts.Grid{Left: "106", Right: "28", Top: "12", Bottom: "48"}),
		charts.WithXAxisOpts(opts.XAxis{Type: "value", Name: l.axis, NameLocation: "middle", NameGap: 30, Min: l.x.lo, Max: l.x.hi,
			AxisLabel: &opts.AxisLabel{Formatter: types.FuncStr("__fn:plain")}}),
		charts.WithYAxisOpts(opts.YAxis{Type: "category", Inverse: opts.Bool(true), Data: variantNames(l.rows),
			AxisLabel: &opts.AxisLabel{Interval: "0"}})}
}

// addWhiskers adds the intervals, one series a colour.
func (l lineChart) addWhiskers(c interface{ Overlap(...charts.Overlaper) }, color func(results.Row) string) {
	var colors []string
	data := map[string][]opts.CustomData{}
	for i, r := range l.rows {
		e := l.figure(r)
		if !e.Known() || !e.HasInterval() || e.Lo == e.Hi {
			continue
		}
		k := color(r)
		if data[k] == nil {
			colors = append(colors, k)
		}
		data[k] = append(data[k], opts.CustomData{Name: r.Variant.Name, Value: []any{i, e.Lo, e.Hi, 0, l.tip(r)}})
	}
	for _, k := range colors {
		w := charts.NewCustom()
		w.AddSeries("intervals", data[k], whiskers("__fn:whiskerX", opts.Encode{X: []int{1, 2}, Y: 0}, k))
		c.Overlap(w)
	}
}

// patch sets what go-echarts has no field for.
func (l lineChart) patch(o map[string]any) {
	styleAxes(o)
	setTicks(entries(o, "xAxis")[0], l.x)
	y := entries(o, "yAxis")[0]
	y["axisLabel"] = merge(y["axisLabel"], map[string]any{"interval": 0, "width": 98, "overflow": "truncate"})
	y["axisTick"] = map[string]any{"show": false}
	for _, s := range entries(o, "series") {
		switch s["type"] {
		case "custom":
			s["z"] = 4
		case "scatter":
			s["z"] = 5
		}
	}
}

// numbers is the chart as a table.
func (l lineChart) numbers(what string) *numbersTable {
	t := &numbersTable{Head: []string{"variant", what, "lo", "hi"}}
	for _, r := range l.rows {
		e := l.figure(r)
		d := l.digits(e)
		lo, hi := ends(e, d)
		t.Rows = append(t.Rows, []string{r.Variant.Name, valueOf(e, d), lo, hi})
	}
	return t
}

// ratioFigure is the forest plot of perplexity ratios.
func ratioFigure(in Input) ([]figure, error) {
	ref := in.Contents.Run.Protocol.Reference
	l := lineChart{rows: in.Rows, figure: func(r results.Row) stat.Estimate { return r.Summary.Ratio },
		digits: func(stat.Estimate) int { return 4 }, axis: "perplexity / that of " + ref}
	f := figure{ID: "ratio", Title: "Perplexity, as a ratio to " + ref, Legend: true, Height: 62 + rowHeight*len(in.Rows), Numbers: l.numbers("ratio"),
		Caption: []sentence{say("Right of 1 predicts the text worse than %v does, left of it better; an interval across the line is not told apart from it. Paired by token, so much narrower than the perplexities' own.", name(ref)), basis(in)}}
	lo, hi, ok := l.span()
	if !ok {
		f.Why = say("No variant has a known ratio.")
		return []figure{f}, nil
	}
	l.x = linearScale(min(lo, 1), max(hi, 1), 10)
	c := charts.NewScatter()
	c.SetGlobalOptions(l.globals()...)
	l.addWhiskers(c, func(r results.Row) string { return swatchOf(r.Variant).Color })
	var looks []Swatch
	data := map[Swatch][]opts.ScatterData{}
	for i, r := range in.Rows {
		e := l.figure(r)
		if !e.Known() {
			continue
		}
		s := swatchOf(r.Variant)
		if data[s] == nil {
			looks = append(looks, s)
		}
		data[s] = append(data[s], opts.ScatterData{Name: r.Variant.Name, Value: []any{e.Value, i, l.tip(r)}})
	}
	for i, s := range looks {
		more := []charts.SeriesOpts{
			charts.WithScatterChartOpts(opts.ScatterChart{Symbol: s.shape(), SymbolSize: 10}),
			charts.WithItemStyleOpts(s.style(1))}
		if i == 0 {
			more = append(more, charts.WithMarkLineNameXAxisItemOpts(opts.MarkLineNameXAxisItem{XAxis: 1}))
		}
		c.AddSeries("variants", data[s], more...)
	}
	var err error
	f.Option, err = option(c, func(o map[string]any) {
		l.patch(o)
		for _, s := range entries(o, "series") {
			if m, ok := s["markLine"].(map[string]any); ok {
				m["symbol"], m["silent"], m["label"] = "none", true, map[string]any{"show": false}
				m["lineStyle"] = map[string]any{"color": "--text", "type": "solid", "width": 1}
			}
		}
	})
	return []figure{f}, err
}

// speedFigures are the bars of prefill and of decode.
func speedFigures(in Input) ([]figure, error) {
	s := in.Contents.Run.Speed
	if s == nil {
		return []figure{{ID: "speed", Title: "Speed", Why: say("Not measured in this run.")}}, nil
	}
	var out []figure
	for _, k := range []struct {
		id, title, what string
		figure          func(results.Row) stat.Estimate
	}{
		{"prefill", "Prefill speed", plural(s.PrefillTokens, "token") + " at once", func(r results.Row) stat.Estimate { return r.Prefill }},
		{"decode", "Decode speed", plural(s.DecodeTokens, "token") + " one by one, from a depth of " + integer(s.PrefillTokens), func(r results.Row) stat.Estimate { return r.Decode }},
	} {
		l := lineChart{rows: in.Rows, figure: k.figure, unit: " tok/s", digits: func(e stat.Estimate) int { return digitsOf(e.Value, 3) },
			axis: "tokens a second, " + in.Contents.Run.Engine.Device}
		f := figure{ID: k.id, Title: k.title + ", " + in.Contents.Run.Engine.Device, Half: true, Height: 62 + rowHeight*len(in.Rows), Numbers: l.numbers("tok/s"),
			Caption: []sentence{say("Longer is faster. %v; median of up to %v with its interval from order statistics; seed of the orders %v.", k.what, plural(s.Repetitions, "repetition"), s.Seed), notApple(in.Contents.Run)}}
		if err := l.bars(&f); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// bars draws f as bars from 0.
func (l lineChart) bars(f *figure) error {
	_, hi, ok := l.span()
	if !ok {
		f.Why = say("No repetition is timed.")
		return nil
	}
	l.x = linearScale(0, hi, 5)
	c := charts.NewBar()
	c.SetGlobalOptions(l.globals()...)
	data := []opts.BarData{}
	for i, r := range l.rows {
		if e := l.figure(r); e.Known() {
			data = append(data, opts.BarData{Name: r.Variant.Name, Value: []any{e.Value, i, l.tip(r)},
				ItemStyle: &opts.ItemStyle{Color: swatchOf(r.Variant).Color, Opacity: opts.Float(0.75)}})
		}
	}
	c.AddSeries("variants", data, charts.WithBarChartOpts(opts.BarChart{BarWidth: "60%"}))
	l.addWhiskers(c, func(results.Row) string { return "--text" })
	var err error
	f.Option, err = option(c, l.patch)
	return err
}
