package report

import (
	"math"
	"slices"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
	"github.com/go-echarts/go-echarts/v2/types"

	"assay/results"
)

// sizePlot is the chart of KL and bytes while it is made. Its first grid has the
// logarithmic axis, its second is a strip for a KL of exactly 0.
type sizePlot struct {
	in     Input
	digits int
	x, y   scale
	above  []results.Row // KL above 0
	zero   []results.Row // KL exactly 0
	off    string        // name of the row too large for the axis, drawn at its edge; "" of none
	cut    bool          // an interval runs below the axis
}

// stripLabel is the strip's.
const stripLabel = "exactly 0"

// sizeFigure is KL against bytes with the Pareto front.
func sizeFigure(in Input) ([]figure, error) {
	p := newSizePlot(in)
	f := figure{ID: "size", Title: "KL divergence against size", Legend: true, Height: 520, Numbers: p.numbers()}
	if len(p.above) == 0 {
		f.Why = say("No variant has a known KL above 0: there is nothing to draw on a logarithmic axis.")
		f.Caption = []sentence{basis(in)}
		return []figure{f}, nil
	}
	c := charts.NewScatter()
	c.SetGlobalOptions(tooltip(),
		charts.WithGridOpts(
			opts.Grid{Left: "64", Right: "28", Top: "30", Bottom: "96"},
			opts.Grid{Left: "64", Right: "28", Height: "34", Bottom: "62", Show: opts.Bool(true)}),
		charts.WithXAxisOpts(opts.XAxis{Type: "value", Min: p.x.lo, Max: p.x.hi, AxisLabel: &opts.AxisLabel{Show: opts.Bool(false)}}),
		charts.WithYAxisOpts(opts.YAxis{Type: "log", Name: "KL divergence (nats)", NameLocation: "end", Min: p.y.lo, Max: p.y.hi,
			AxisLabel: &opts.AxisLabel{Formatter: types.FuncStr("__fn:plain")}}))
	c.ExtendXAxis(opts.XAxis{Type: "value", GridIndex: 1, Min: p.x.lo, Max: p.x.hi, Name: "bytes of the main model", NameLocation: "middle", NameGap: 34,
		AxisLabel: &opts.AxisLabel{Formatter: types.FuncStr("__fn:size")}})
	c.ExtendYAxis(opts.YAxis{Type: "category", GridIndex: 1, Data: []string{stripLabel}})
	front := charts.NewLine()
	front.AddSeries("front", p.frontLine(), charts.WithLineChartOpts(opts.LineChart{Step: "end", ShowSymbol: opts.Bool(false)}),
		charts.WithLineStyleOpts(opts.LineStyle{Color: "--soft", Width: 1.5}))
	c.Overlap(front)
	p.addWhiskers(c)
	p.addPoints(c)
	var err error
	if f.Option, err = option(c, p.patch); err != nil {
		return nil, err
	}
	f.Caption = p.caption()
	return []figure{f}, nil
}

func newSizePlot(in Input) *sizePlot {
	p := &sizePlot{in: in, digits: klDigits(in.Rows)}
	var sizes []float64
	for _, r := range in.Rows {
		switch kl := r.Summary.KL; {
		case zeroKL(r):
			p.zero = append(p.zero, r)
		case kl.Known() && kl.Value > 0:
			p.above = append(p.above, r)
		default:
			continue
		}
		sizes = append(sizes, float64(r.Variant.BytesMain))
	}
	if len(p.above) == 0 {
		return p
	}
	slices.Sort(sizes)
	most := sizes[len(sizes)-1]
	if n := len(sizes); n > 2 && most > 1.5*sizes[n-2] {
		for _, r := range slices.Concat(p.above, p.zero) {
			if float64(r.Variant.BytesMain) == most {
				p.off = r.Variant.Name
			}
		}
		most = sizes[n-2]
	}
	p.x = linearScale(sizes[0]-0.03*(most-sizes[0]), most+0.08*(most-sizes[0]), 8)
	least, greatest := math.Inf(1), 0.0
	for _, r := range p.above {
		least, greatest = min(least, r.Summary.KL.Value), max(greatest, r.Summary.KL.Value)
	}
	floor := least / 2
	for _, r := range p.above {
		if kl := r.Summary.KL; kl.HasInterval() {
			greatest = max(greatest, kl.Hi)
			if kl.Lo >= floor {
				least = min(least, kl.Lo)
			} else {
				least, p.cut = floor, true
			}
		}
	}
	p.y = logScale(least, greatest)
	return p
}

// place is where a row stands along the axis of bytes.
func (p *sizePlot) place(r results.Row) float64 {
	if r.Variant.Name == p.off {
		return p.x.hi
	}
	return float64(r.Variant.BytesMain)
}

// onFront says whether a row is a member of the front.
func (p *sizePlot) onFront(r results.Row) bool {
	return slices.Contains(p.in.Verdict.Front, r.Variant.Name)
}

// frontLine returns the front's corners: what is the least KL for so many bytes.
// From the last member above 0 it runs on to one of exactly 0, if there is one,
// and there down to the strip; else to the end of the axis.
func (p *sizePlot) frontLine() []opts.LineData {
	var out []opts.LineData
	var last float64
	end := p.x.hi
	for _, n := range p.in.Verdict.Front {
		for _, r := range p.above {
			if r.Variant.Name == n {
				last = r.Summary.KL.Value
				out = append(out, opts.LineData{Value: []any{p.place(r), last}})
			}
		}
		for _, r := range p.zero {
			if r.Variant.Name == n {
				end = p.place(r)
			}
		}
	}
	if len(out) == 0 {
		return out
	}
	out = append(out, opts.LineData{Value: []any{end, last}})
	if end < p.x.hi {
		out = append(out, opts.LineData{Value: []any{end, p.y.lo}})
	}
	return out
}

// addWhiskers adds the intervals, one series a colour.
func (p *sizePlot) addWhiskers(c *charts.Scatter) {
	var colors []string
	data := map[string][]opts.CustomData{}
	for _, r := range p.above {
		kl := r.Summary.KL
		if !kl.HasInterval() {
			continue
		}
		color := swatchOf(r.Variant).Color
		if data[color] == nil {
			colors = append(colors, color)
		}
		lo, cut := kl.Lo, 0
		if lo < p.y.lo {
			lo, cut = p.y.lo, 1
		}
		data[color] = append(data[color], opts.CustomData{Name: r.Variant.Name, Value: []any{p.place(r), lo, kl.Hi, cut, p.tip(r)}})
	}
	for _, color := range colors {
		w := charts.NewCustom()
		w.AddSeries("intervals", data[color], whiskers("__fn:whiskerY", opts.Encode{X: 0, Y: []int{1, 2}}, color))
		c.Overlap(w)
	}
}

// whiskers are the options of a series of intervals.
func whiskers(render string, e opts.Encode, color string) charts.SeriesOpts {
	return charts.WithSeriesOpts(func(s *charts.SingleSeries) {
		s.RenderItem = types.FuncStr(render)
		s.Encode = &e
		s.ItemStyle = &opts.ItemStyle{Color: color}
	})
}

// addPoints adds the variants, one series for each look.
func (p *sizePlot) addPoints(c *charts.Scatter) {
	type look struct {
		Swatch
		front, zero bool
	}
	var looks []look
	data := map[look][]opts.ScatterData{}
	add := func(r results.Row, zero bool, y any) {
		l := look{swatchOf(r.Variant), p.onFront(r), zero}
		if data[l] == nil {
			looks = append(looks, l)
		}
		n := r.Variant.Name
		if n == p.off {
			n += ", " + decimal(r.Variant.BytesMain) + " →"
		}
		data[l] = append(data[l], opts.ScatterData{Name: n, Value: []any{p.place(r), y, p.tip(r)}})
	}
	for _, r := range p.above {
		add(r, false, r.Summary.KL.Value)
	}
	for _, r := range p.zero {
		add(r, true, stripLabel)
	}
	for _, l := range looks {
		axis, opacity := 0, 0.45
		if l.front {
			opacity = 1
		}
		if l.zero {
			axis = 1
		}
		c.AddSeries("variants", data[l],
			charts.WithScatterChartOpts(opts.ScatterChart{Symbol: l.shape(), SymbolSize: 11, XAxisIndex: axis, YAxisIndex: axis}),
			charts.WithItemStyleOpts(l.style(float32(opacity))),
			charts.WithLabelOpts(opts.Label{Show: opts.Bool(l.front || l.zero), Position: "left", Formatter: "{b}", Color: "--text", FontSize: 11}))
	}
}

// tip is a variant's tooltip.
func (p *sizePlot) tip(r results.Row) string {
	text := r.Variant.Name + "\n" + decimal(r.Variant.BytesMain) + " (" + binary(r.Variant.BytesMain) + ")\nKL " + klOf(r, p.digits) + " nats"
	if p.onFront(r) {
		return text + "\non the front"
	}
	return text
}

// patch sets what go-echarts has no field for.
func (p *sizePlot) patch(o map[string]any) {
	styleAxes(o)
	x, y := entries(o, "xAxis"), entries(o, "yAxis")
	setTicks(x[0], p.x)
	setTicks(x[1], p.x)
	setTicks(y[0], p.y)
	x[0]["axisTick"] = map[string]any{"show": false, "customValues": p.x.ticks}
	x[1]["splitLine"] = map[string]any{"show": false}
	y[0]["nameTextStyle"] = map[string]any{"color": "--soft", "align": "left", "padding": []int{0, 0, 4, -50}}
	y[1]["axisTick"] = map[string]any{"show": false}
	strip := entries(o, "grid")[1]
	strip["backgroundColor"], strip["borderColor"] = "--stripe", "--line"
	for _, s := range entries(o, "series") {
		switch s["type"] {
		case "line":
			s["silent"], s["z"] = true, 1
		case "custom":
			s["z"] = 2
		case "scatter":
			s["z"] = 3
			s["labelLayout"] = map[string]any{"hideOverlap": true}
			label, _ := s["label"].(map[string]any)
			label["distance"] = 7 // to the left, where only what dominates the point could lie
		}
	}
}

// caption explains the chart.
func (p *sizePlot) caption() []sentence {
	out := []sentence{say("Lower left is better. The line is the front: the least KL for so many bytes; what it leaves out is pale. Logarithmic in KL.")}
	if len(p.zero) > 0 {
		out = append(out, say("A logarithmic axis has no 0: what has a KL of exactly 0 on every token (%v) stands on the strip at the lower edge.", list(names(variantNames(p.zero)))))
	}
	if p.off != "" {
		out = append(out, say("%v is too large for the axis and stands at its right edge.", name(p.off)))
	}
	if p.cut {
		out = append(out, say("An interval that runs below the axis ends there without a cap; the table has its end."))
	}
	return append(out, basis(p.in))
}

// numbers is the chart as a table.
func (p *sizePlot) numbers() *numbersTable {
	t := &numbersTable{Head: []string{"variant", "bytes", "KL (nats)", "lo", "hi", "front"}}
	for _, r := range p.in.Rows {
		kl := r.Summary.KL
		lo, hi := ends(kl, p.digits)
		value := valueOf(kl, p.digits)
		if zeroKL(r) {
			value = "exactly 0"
		}
		front := "no"
		if p.onFront(r) {
			front = "yes"
		}
		t.Rows = append(t.Rows, []string{r.Variant.Name, integer(r.Variant.BytesMain), value, lo, hi, front})
	}
	return t
}
