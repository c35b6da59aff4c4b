package scaling

import (
	"fmt"
	"slices"
	"strings"
)

// Setup is what one point measures.
type Setup struct {
	Windows   int  `json:"windows"`  // of each text
	Variants  int  `json:"variants"` // bf16 and the first of the default grid
	Layers    int  `json:"layers"`
	Experts   int  `json:"routed_experts"`
	Threads   int  `json:"threads"`
	Synthetic bool `json:"synthetic"` // weights are drawn: the reference model has other layers or experts
}

func (s Setup) String() string {
	model := "reference model"
	if s.Synthetic {
		model = "synthetic weights"
	}
	return fmt.Sprintf("%d windows, %d variants, %d layers, %d experts, %d threads, %s", s.Windows, s.Variants, s.Layers, s.Experts, s.Threads, model)
}

// Grid is the points to measure: Base, and along each axis what is varied alone.
type Grid struct {
	Window                                      int // tokens
	Base                                        Setup
	Windows, Variants, Layers, Experts, Threads []int
}

// Default is the grid of the records, for a model of layers and experts, on a
// number of threads.
func Default(layers, experts, threads int) Grid {
	g := Grid{
		Window:  1024,
		Base:    Setup{Windows: 1, Variants: 2, Layers: layers, Experts: experts, Threads: threads},
		Windows: []int{1, 2, 4, 8}, Variants: []int{2, 5, 10, 19},
		Layers: []int{4, 8, 16, 24}, Experts: []int{16, 32, 64, 128},
	}
	for n := 1; n < threads; n *= 2 {
		g.Threads = append(g.Threads, n)
	}
	g.Threads = append(g.Threads, threads)
	return g
}

// Axis is points that differ in one thing.
type Axis struct {
	Name   string
	What   string // for people, of x
	Setups []Setup
	x      func(*Point) float64
}

// axes are what can be varied, in the order of a record.
var axes = []struct {
	name, what string
	synthetic  bool
	field      func(*Setup) *int
	values     func(Grid) []int
}{
	{"tokens", "tokens fed to each variant", false, func(s *Setup) *int { return &s.Windows }, func(g Grid) []int { return g.Windows }},
	{"variants", "variants, bf16 among them", false, func(s *Setup) *int { return &s.Variants }, func(g Grid) []int { return g.Variants }},
	{"layers", "layers", true, func(s *Setup) *int { return &s.Layers }, func(g Grid) []int { return g.Layers }},
	{"experts", "routed experts of a layer", true, func(s *Setup) *int { return &s.Experts }, func(g Grid) []int { return g.Experts }},
	{"threads", "threads", false, func(s *Setup) *int { return &s.Threads }, func(g Grid) []int { return g.Threads }},
}

// AxisNames lists the axes in their order.
func AxisNames() (out []string) {
	for _, a := range axes {
		out = append(out, a.name)
	}
	return out
}

// Axes returns the named axes of the grid, all where none is named. It errs on
// other names.
func (g Grid) Axes(names []string) ([]Axis, error) {
	known := AxisNames()
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("scaling: no axis %q, want %s", n, strings.Join(known, ", "))
		}
	}
	var out []Axis
	for _, a := range axes {
		if len(names) > 0 && !slices.Contains(names, a.name) {
			continue
		}
		axis := Axis{Name: a.name, What: a.what, x: func(p *Point) float64 { return float64(*a.field(&p.Setup)) }}
		if a.name == "tokens" { // windows of all texts
			axis.x = func(p *Point) float64 { return float64(p.Work.Fed) }
		}
		for _, n := range a.values(g) {
			s := g.Base
			s.Synthetic = a.synthetic
			*a.field(&s) = n
			axis.Setups = append(axis.Setups, s)
		}
		out = append(out, axis)
	}
	return out, nil
}
