package inspect

import (
	"fmt"
	"strings"

	"assay/engine/tensor"
)

// checkMissing looks for parameters without a tensor. A checkpoint may come
// without its multi-token-prediction block, and loaders drop it.
func (c *check) checkMissing() {
	unread := false
	for _, s := range c.f.shards {
		unread = unread || s.broken
	}
	mtpThere := false
	for _, m := range c.b.modules {
		mtpThere = mtpThere || m.param().MTP
	}
	for _, m := range c.b.missing {
		p := m.param()
		x := Finding{ID: "S13", Severity: Error, Found: "no tensor", Wanted: "a tensor for every parameter",
			Consequence: "strict loading fails; without it the module keeps random weights", Fix: "build the bundle again, or download the file that has it"}
		switch {
		case unread || c.lost(m):
			continue // a file that cannot be read may have it, and has a finding
		case p.MTP && !mtpThere:
			continue
		case p.MTP:
			x.Severity, x.Consequence = Warning, "loaders drop the block; a runtime that keeps it fails"
		case p.Class == tensor.RoutedExpert:
			x.ID, x.Wanted = "X06", "every expert that the router chooses among"
		}
		c.add(x, m.stem)
	}
}

// lost says whether the index places a module in a file that is not there,
// which has a finding.
func (c *check) lost(m *module) bool {
	if c.f.index == nil {
		return false
	}
	file, ok := c.f.index.weightMap[m.stem+weightSuffix]
	if !ok {
		file, ok = c.f.index.weightMap[m.stem]
	}
	return ok && !c.f.hasFile(file)
}

// mostExtra bounds how many unknown tensors are looked up in other spellings.
const mostExtra = 200

// checkExtra looks at tensors of no parameter.
func (c *check) checkExtra() {
	var extra []string
	for _, name := range c.b.extra {
		if !mtp(name) {
			extra = append(extra, name)
		}
	}
	other := elsewhere(c.b, extra[:min(len(extra), mostExtra)])
	for _, name := range extra {
		x := Finding{ID: "S13", Severity: Error, Found: "a tensor of no parameter", Wanted: "the model's parameters and nothing else",
			Consequence: "strict loading fails: parameters not in model", Fix: "build the bundle again without it"}
		s, mixed := other[name]
		switch {
		case mixed:
			x.Found, x.Wanted = "a name of "+s.String(), "names of "+c.b.spelling.String()+" throughout"
			x.Consequence = "a folder of mixed names: loaders rename all or nothing"
		case strings.Contains(name, ".tq_"):
			x.Found, x.Consequence = "a JANGTQ codebook tensor", "only vMLX's own loader reads it"
			x.Fix = "load it with vMLX, or build a bundle with assay"
		case c.splits(name):
			x.Found, x.Consequence = "a part of a matrix that the model has whole", "only a runtime that splits it so loads it"
			x.Fix = "concatenate the rows of its parts"
		}
		c.add(x, name)
	}
}

// splits says whether a tensor is a part, by number, of a module that is
// missing: wo_a.0.weight.
func (c *check) splits(name string) bool {
	stem := name[:max(0, strings.LastIndexByte(name, '.'))]
	at := strings.LastIndexByte(stem, '.')
	if at < 0 || strings.Trim(stem[at+1:], "0123456789") != "" {
		return false
	}
	for _, m := range c.b.missing {
		if m.stem == stem[:at] {
			return true
		}
	}
	return false
}

// checkScaleType looks for types that promote the activations: BF16 with F16
// or F32 gives float32.
func (c *check) checkScaleType(m *module) {
	p := m.param()
	d, what := m.found.Scales, "scales"
	if !m.found.quantized() && p.DType == tensor.BF16 && m.block == nil {
		d, what = m.weight.DType, "weights"
	}
	if d == "" || d == tensor.BF16 {
		return
	}
	x := Finding{ID: "S11", Severity: Warning, Found: fmt.Sprintf("%s %s", what, d), Wanted: "BF16, the type of the activations",
		Consequence: "MLX promotes BF16 with " + string(d) + " to float32: activations from there on take more time and memory",
		Fix:         "build the bundle again with BF16 " + what}
	if d == tensor.F32 && m.found.quantized() {
		x.Consequence += "; assay eval refuses the folder"
	}
	c.add(x, m.stem)
}

// leastFast is the columns from which a matrix is large enough for the kernel
// to matter more than its launch.
const leastFast = 1024

// checkSpeed looks for shapes that the fast matrix-vector kernel does not take.
// Source: ml-explore/mlx mlx/backend/metal/quantized.cpp, dispatch_qmv.
func (c *check) checkSpeed(m *module) {
	p := m.param()
	if !m.found.quantized() || p.MTP || len(p.Shape) != 2 || p.Shape[1] < leastFast {
		return
	}
	columns := 512
	if b := m.found.Quant.Bits; b == 6 || b == 8 {
		columns = 256
	}
	if p.Shape[1]%columns != 0 || p.Shape[0]%8 != 0 {
		c.add(Finding{ID: "S16", Severity: Warning, Found: fmt.Sprintf("[%d, %d] at %d bits", p.Shape[0], p.Shape[1], m.found.Quant.Bits),
			Wanted:      fmt.Sprintf("columns a multiple of %d, rows of 8", columns),
			Consequence: "the generic kernel runs, which is slower", Fix: "6 or 8 bits need multiples of 256 columns only"}, m.stem)
	}
}

// checkAlike looks for experts of one stack that differ, where each is stored
// apart.
func (c *check) checkAlike() {
	type place struct {
		layer int
		last  string
	}
	first := map[place]*module{}
	for _, m := range c.b.modules {
		p := m.param()
		if p.Class != tensor.RoutedExpert || m.broken || m.stacked || p.MTP {
			continue
		}
		k := place{p.Layer, m.stem[strings.LastIndexByte(m.stem, '.')+1:]}
		a, ok := first[k]
		switch {
		case !ok:
			first[k] = m
		case a.found != m.found:
			c.add(Finding{ID: "S12", Severity: Error, Found: fmt.Sprintf("%s, but %s is %s", m.found.Format, a.stem, a.found.Format), Wanted: "one format for the experts of a layer",
				Consequence: "the runtime stacks them, which fails, and config.json has one entry for them all", Fix: "build the bundle again"}, m.stem)
		}
	}
}
