package inspect

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// RowError is how far the sampled weights of a class and format are from the
// source's.
type RowError struct {
	Class    tensor.Class `json:"class"`
	Format   string       `json:"format"`
	Relative float64      `json:"relative_rms"`
	Weights  int64        `json:"weights"`
}

// sampler looks at rows and keeps what only all of them together show.
type sampler struct {
	c         *check
	squares   map[string]*squares
	order     []string
	groups    map[string]*ends // of affine groups, by class and format
	searches  map[string]int   // for another expert that fits, by stack: they are costly
	swapped   map[string]Finding
	compared  int              // rows that the source has too
	expertsOf map[string]int64 // by stack; made when needed
}

// squares sums errors.
type squares struct {
	class     tensor.Class
	format    string
	off, size float64
	n         int64
}

// ends counts groups by whether both ends of the codes are in use.
type ends struct {
	class                 tensor.Class
	format                string
	groups, positive, all int
}

// Bounds on the searches for an expert that fits.
const (
	mostSearches = 2  // in a stack of experts
	mostSearched = 16 // stacks
)

// checkSamples reads weights.
func (c *check) checkSamples(r *Result) {
	if c.o.Sample.Bytes <= 0 {
		return
	}
	s := &sampler{c: c, squares: map[string]*squares{}, groups: map[string]*ends{}, searches: map[string]int{}, swapped: map[string]Finding{}}
	c.forRows(c.o.Sample, &r.Sampled, s.row)
	for _, k := range s.order {
		q := s.squares[k]
		r.Sampled.Errors = append(r.Sampled.Errors, RowError{q.class, q.format, math.Sqrt(q.off / max(q.size, math.SmallestNonzeroFloat64)), q.n})
	}
	s.checkEnds()
	if c.o.Source != nil && r.Sampled.Rows > 0 && s.compared == 0 {
		c.add(Finding{ID: "S17", Severity: Warning, Found: "no sampled weight that the source has in this shape", Wanted: "the source's names and shapes",
			Consequence: "nothing was compared", Fix: "name the checkpoint that the folder was made from"}, "all tensors")
	}
}

// row looks at one row.
func (s *sampler) row(r row) {
	switch {
	case r.m.found.affine():
		s.affine(r)
	case r.m.found.quantized():
		s.mx(r)
	case r.block != nil:
		s.upstream(r)
	case r.m.weight.DType == tensor.I64 || r.m.weight.DType == tensor.I32:
		s.table(r)
	default:
		s.plain(r)
	}
}

// broken reports values that are not finite, or scales of zero.
func (s *sampler) broken(r row, severity Severity, found, consequence string) {
	s.c.add(Finding{ID: "S18", Severity: severity, Found: found, Wanted: "finite numbers, and scales other than zero",
		Consequence: consequence, Fix: "build the bundle again"}, r.name())
}

const poisons = "every logit becomes NaN as soon as the row is used"

func nonFinite(list []float32) bool {
	for _, v := range list {
		if v-v != 0 {
			return true
		}
	}
	return false
}

func (s *sampler) affine(r row) {
	q := r.m.found.Quant
	a := affineRow{p: affine.Params{Bits: q.Bits, GroupSize: q.GroupSize}, words: r.codes}
	a.scales, a.biases = floats(r.scales, r.m.scales.DType), floats(r.biases, r.m.biases.DType)
	if len(a.scales) == 0 || len(a.biases) != len(a.scales) {
		return
	}
	if nonFinite(a.scales) || nonFinite(a.biases) {
		s.broken(r, Error, "a scale or bias that is not finite", poisons)
		return
	}
	codes := a.unpack(packings[0], r.cols)
	for g, scale := range a.scales {
		if scale == 0 {
			s.broken(r, Warning, "a scale of zero", "the weights of its group are all one number, as from scales too small for F16")
			break
		}
		s.count(r, codes[g*q.GroupSize:][:q.GroupSize], scale, q.Bits)
	}
	want, ok := s.source(r)
	if !ok {
		return
	}
	got := a.decode(codes, conventions[0])
	if fits(got, want, a.scales, q.GroupSize) {
		s.sum(r, got, want)
		return
	}
	p, conv, ok := a.fitting(want)
	x := Finding{Severity: Error, Consequence: "the weights are noise, with shapes that load", Fix: "build the bundle again from the source"}
	switch {
	case ok && p.toMLX != nil:
		x.ID, x.Found, x.Wanted = "X02", "codes that fit the source in "+p.name, "MLX's order: a stream of bits, the lowest first"
		if conv.name != conventions[0].name {
			x.Found += " and as " + conv.name
		}
	case ok:
		x.ID, x.Found, x.Wanted = "X03", "weights that fit the source as "+conv.name, conventions[0].name
	default:
		if s.elsewhere(r, func(want []float32) bool { return fits(got, want, a.scales, q.GroupSize) }) {
			return
		}
		x = unlike(got, want, q.Bits)
	}
	s.c.add(x, r.name())
}

// unlike is the finding about weights that nothing explains, with their bits
// where they are quantized.
func unlike(got, want []float32, bits int) Finding {
	rel := relative(got, want)
	x := Finding{ID: "S17", Severity: Error, Found: "weights off by over " + percent(rel) + " of the source, root mean square", Wanted: "the source's, but for quantization",
		Consequence: "another model's weights, or noise", Fix: "build the bundle again, or name the source that it was made from"}
	switch {
	case math.IsNaN(rel):
		x.Found = "weights that are not finite"
	case rel < 0.1 && bits > 0:
		x.Found += fmt.Sprintf(": more error than %d bits give", bits)
		x.Consequence = "the source's weights, but worse than they need be"
	case rel < 0.1:
		x.Consequence = "weights that were changed after the source's"
	}
	return x
}

// percent rounds down to tens from 10 to 100, and to a power of ten below, so
// that the rows of a matrix have one text.
func percent(part float64) string {
	p := 100 * min(part, 1)
	if p >= 10 {
		return fmt.Sprintf("%.0f %%", math.Floor(p/10)*10)
	}
	return fmt.Sprintf("%.3g %%", math.Pow(10, math.Floor(math.Log10(max(p, 1e-4)))))
}

// relative returns |got−want| / |want|, root mean square.
func relative(got, want []float32) float64 {
	off, size := 0.0, 0.0
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		off += d * d
		size += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(off / max(size, math.SmallestNonzeroFloat64))
}

// source returns the row of the source.
func (s *sampler) source(r row) ([]float32, bool) {
	if s.c.o.Source == nil {
		return nil, false
	}
	want, ok := s.c.o.Source.row(r.param(), r.index)
	if ok = ok && len(want) == r.cols; ok {
		s.compared++
	}
	return want, ok
}

// sum adds a row to the error of its class.
func (s *sampler) sum(r row, got, want []float32) {
	k := string(r.param().Class) + r.m.found.Format
	q, ok := s.squares[k]
	if !ok {
		q = &squares{class: r.param().Class, format: r.m.found.Format}
		s.squares[k] = q
		s.order = append(s.order, k)
	}
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		q.off += d * d
		q.size += float64(want[i]) * float64(want[i])
	}
	q.n += int64(len(want))
}

// elsewhere looks for another parameter of the same layer, class and shape that
// the row fits, and reports it. Where it has searched enough, it takes a
// stack's other rows for more of what it found.
func (s *sampler) elsewhere(r row, fits func(want []float32) bool) bool {
	p := r.param()
	stack := stackOf(p)
	if s.searches[stack]++; s.searches[stack] > mostSearches || len(s.searches) > mostSearched {
		x, ok := s.swapped[stack]
		if ok {
			s.c.add(x, r.name())
		}
		return ok
	}
	for i := range s.c.b.params {
		q := &s.c.b.params[i]
		if q.Layer != p.Layer || q.MTP != p.MTP || q.Class != p.Class || q.Name == p.Name || !slices.Equal(q.Shape, p.Shape) {
			continue
		}
		want, ok := s.c.o.Source.row(q, r.index)
		if !ok || len(want) != r.cols || !fits(want) {
			continue
		}
		x := Finding{ID: "X05", Severity: Error, Found: "the weights of another expert of the source", Wanted: "each expert in its place",
			Consequence: "the router's choice reaches the wrong expert: fluent nonsense, with shapes that load", Fix: "build the bundle again from the source"}
		if projection(q.Name) != projection(p.Name) {
			x.Found = fmt.Sprintf("%s where %s belongs", projection(q.Name), projection(p.Name))
			x.Consequence = "two projections are swapped: noise, with shapes that load"
		}
		s.swapped[stack] = x
		s.c.add(x, r.name())
		return true
	}
	return false
}

// count watches how groups use their codes.
func (s *sampler) count(r row, codes []uint8, scale float32, bits int) {
	k := string(r.param().Class) + r.m.found.Format
	e, ok := s.groups[k]
	if !ok {
		e = &ends{class: r.param().Class, format: r.m.found.Format}
		s.groups[k] = e
	}
	low, high := false, false
	for _, q := range codes {
		low, high = low || q == 0, high || int(q) == 1<<bits-1
	}
	e.groups++
	if scale > 0 {
		e.positive++
	}
	if low && high {
		e.all++
	}
}

// checkEnds recognises the formula s = (max−min)/n, z = min: every scale is
// positive and every group uses the first and the last code. MLX gives half the
// groups a negative scale, and seldom the last code.
func (s *sampler) checkEnds() {
	const least = 24 // groups; by chance MLX's encoder has as many alike once in 2^24
	for _, k := range sortedKeys(s.groups) {
		e := s.groups[k]
		if e.groups >= least && e.positive == e.groups && e.all*20 >= e.groups*19 {
			s.c.add(Finding{ID: "X04", Severity: Note, Found: "scale = (max − min)/n, bias = min: no scale is negative", Wanted: "MLX's own choice, or a better one",
				Consequence: "valid, and loads everywhere; zero is not exact, which costs a little on weights that were FP4", Fix: "none needed: assay build chooses better"},
				fmt.Sprintf("%s, %s", e.class, e.format))
		}
	}
}

// mx looks at a row of mxfp4 or mxfp8.
func (s *sampler) mx(r row) {
	q := r.m.found.Quant
	f, ok := r.m.found.format()
	if !ok {
		s.nvfp4(r)
		return
	}
	width := q.GroupSize * q.Bits / 8
	for g, e := range r.scales {
		codes := r.codes[g*width:][:width]
		switch {
		case e == 255:
			s.broken(r, Error, "scale byte 255, which MLX decodes as infinity", poisons)
			return
		case q.Bits == 8 && hasNaN(codes):
			s.broken(r, Error, "an E4M3 code of NaN", "MLX reads it as 480 up to 0.32.2, and as NaN from 0.32.3 on")
			return
		case e == 0 && !allZero(codes, q.Bits):
			s.broken(r, Warning, "scale byte 0 over weights that are not zero", "2^-127 times a code is flushed to zero")
		}
	}
	want, ok := s.source(r)
	if !ok {
		return
	}
	decode := func(codes []byte) []float32 {
		out := make([]float32, r.cols)
		f.DecodeRow(out, &tensor.Matrix{Rows: 1, Cols: r.cols, Format: f, Codes: codes, Scales: r.scales}, 0)
		return out
	}
	got := decode(r.codes)
	native := s.c.o.Source.native(r.param())
	exact := native == tensor.FP4 && f == mx.FP4 || native == tensor.FP8 && f == mx.FP8
	most := map[bool]float64{true: 0.25, false: 0.08}[f == mx.FP4] // twice the error of rounding anew
	switch rel := relative(got, want); {
	case rel == 0 || !exact && rel < most:
		s.sum(r, got, want)
	case rel < most:
		s.sum(r, got, want)
		s.c.add(Finding{ID: "S17", Severity: Warning, Found: "weights rounded anew from the source's " + string(native), Wanted: "the source's bytes, which " + f.String() + " holds exactly",
			Consequence: "about 9 % error where there need be none: mx.quantize before 0.32.2 clips blocks", Fix: "build the bundle again with the native recipe"}, r.name())
	default:
		s.mxPacking(r, decode, got, want, most)
	}
}

// mxPacking explains a row that is not the source's.
func (s *sampler) mxPacking(r row, decode func([]byte) []float32, got, want []float32, most float64) {
	for _, p := range packings[1:] {
		if p.bits != 0 && p.bits != r.m.found.Quant.Bits {
			continue
		}
		words := append([]byte{}, r.codes...)
		p.toMLX(words)
		if relative(decode(words), want) < most {
			s.c.add(Finding{ID: "X02", Severity: Error, Found: "codes that fit the source in " + p.name, Wanted: "MLX's order: a stream of bits, the lowest first",
				Consequence: "the weights are noise, with shapes that load", Fix: "build the bundle again from the source"}, r.name())
			return
		}
	}
	if !s.elsewhere(r, func(want []float32) bool { return relative(got, want) < most }) {
		s.c.add(unlike(got, want, r.m.found.Quant.Bits), r.name())
	}
}

// nvfp4 looks at a row's scales, which is all that assay reads of the mode.
func (s *sampler) nvfp4(r row) {
	if hasNaN(r.scales) {
		s.broken(r, Error, "an E4M3 scale of NaN", "MLX reads it as 480 up to 0.32.2, and as NaN from 0.32.3 on")
	}
	if s.c.o.Source != nil {
		s.c.add(Finding{ID: "S17", Severity: Note, Found: "nvfp4, which assay does not decode", Wanted: "a format that can be compared",
			Consequence: "the weights were not held against the source", Fix: "none needed"}, r.m.stem)
	}
}

func hasNaN(e4m3 []byte) bool {
	for _, b := range e4m3 {
		if b&0x7f == 0x7f {
			return true
		}
	}
	return false
}

// allZero says whether all codes are +0 or −0.
func allZero(codes []byte, bits int) bool {
	mask := byte(0x7f)
	if bits == 4 {
		mask = 0x77
	}
	for _, b := range codes {
		if b&mask != 0 {
			return false
		}
	}
	return true
}

// upstream looks at a row of FP8 or FP4 blocks.
func (s *sampler) upstream(r row) {
	for _, e := range r.block {
		if e == 255 {
			s.broken(r, Error, "scale byte 255, which is NaN", poisons)
			return
		}
	}
	fp8 := r.m.weight.DType == tensor.F8E4M3
	if fp8 && hasNaN(r.codes) {
		s.broken(r, Error, "an E4M3 code of NaN", poisons)
		return
	}
	want, ok := s.source(r)
	if !ok {
		return
	}
	got := make([]float32, r.cols)
	for i := range got {
		switch {
		case fp8:
			got[i] = tensor.E4M3ToFloat32(r.codes[i]) * tensor.E8M0ToFloat32(r.block[i/tensor.FP8Block])
		default:
			got[i] = tensor.E2M1ToFloat32(r.codes[i/2]>>(4*(i%2))&15) * tensor.E8M0ToFloat32(r.block[i/tensor.FP4Group])
		}
	}
	s.alike(r, got, want)
}

// table looks at a row of a token table, which names experts of its layer.
func (s *sampler) table(r row) {
	p := r.param()
	got, err := integers(r.codes, r.m.weight.DType)
	if err != nil {
		return
	}
	if n := s.experts(p); n > 0 && slices.ContainsFunc(got, func(id int64) bool { return id < 0 || id >= n }) {
		s.c.add(Finding{ID: "X06", Severity: Error, Found: "an expert's number that is too large or negative", Wanted: fmt.Sprintf("0 to %d", n-1),
			Consequence: "the router chooses experts that are not there: MLX reads other memory", Fix: "build the bundle again"}, r.name())
		return
	}
	if s.c.o.Source == nil {
		return
	}
	want, ok := s.c.o.Source.integers(p, r.index)
	if !ok || len(want) != len(got) {
		return
	}
	if s.compared++; !slices.Equal(got, want) {
		s.c.add(Finding{ID: "S17", Severity: Error, Found: "a table with other numbers than the source's", Wanted: "the source's, which nothing quantizes",
			Consequence: "tokens go to other experts than in training", Fix: "build the bundle again, or name the source that it was made from"}, r.name())
	}
}

// experts returns how many experts a parameter's layer has.
func (s *sampler) experts(p *tensor.Param) int64 {
	if s.expertsOf == nil {
		s.expertsOf = map[string]int64{}
		for _, q := range s.c.b.params {
			if q.Class == tensor.RoutedExpert {
				s.expertsOf[stackOf(&q)]++
			}
		}
	}
	most := int64(0)
	prefix := stackOf(&tensor.Param{Layer: p.Layer, MTP: p.MTP})
	for stack, n := range s.expertsOf {
		if strings.HasPrefix(stack, prefix) {
			most = max(most, n)
		}
	}
	return most
}

// plain looks at a row that is not quantized.
func (s *sampler) plain(r row) {
	got := floats(r.codes, r.m.weight.DType)
	if nonFinite(got) {
		s.broken(r, Error, "a number that is not finite", poisons)
		return
	}
	want, ok := s.source(r)
	if !ok || len(got) != len(want) {
		return
	}
	s.alike(r, got, want)
}

// alike holds weights that nothing quantizes against the source's.
func (s *sampler) alike(r row, got, want []float32) {
	// F16 rounds by 2^-11, and what is finer than 2^-24 to nothing; BF16 by 2^-9.
	close := func(want []float32) bool { return relative(got, want) < 0x1p-8 }
	switch {
	case close(want):
		s.sum(r, got, want)
	case r.param().Class == tensor.RoutedExpert && s.elsewhere(r, close):
	default:
		s.c.add(unlike(got, want, 0), r.name())
	}
}
