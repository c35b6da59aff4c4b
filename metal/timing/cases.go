package timing

import (
	"fmt"
	"math/rand/v2"

	"assay/engine/affine"
	"assay/engine/dsv4"
	"assay/engine/mx"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/metal"
	"assay/metal/host"
)

// shape is the sizes of a case.
type shape struct{ tokens, rows, cols int }

// aCase is one row to be made.
type aCase struct {
	name        string
	activations string
	format      tensor.Format
	shape       shape
	groups      int // of GroupLinear, 0 for Linear
	picks       int // experts a token, of experts in all; 0 for no experts
	experts     int
	want        float64 // see Row
	rate        float64
}

func affineFormat(bits, group int) tensor.Format {
	return affine.Format{Params: affine.Params{Bits: bits, GroupSize: group}}
}

// cases are what is asked of an H200, and beside it what shows where time goes.
func cases() []aCase {
	var all []aCase
	add := func(c aCase) { all = append(all, c) }
	square := shape{1, 8192, 8192}
	for _, m := range []struct {
		bits int
		want float64
	}{{8, 0.60}, {4, 0.45}, {3, 0.35}} {
		add(aCase{name: "matvec", activations: "f32", format: affineFormat(m.bits, 64), shape: square, want: m.want})
	}
	for _, f := range []tensor.Format{affineFormat(2, 64), affineFormat(5, 64), affineFormat(6, 64), mx.FP4, mx.FP8, tensor.PlainFormat(tensor.BF16)} {
		add(aCase{name: "matvec", activations: "f32", format: f, shape: square})
	}
	add(aCase{name: "matvec", activations: "f16", format: affineFormat(4, 64), shape: square})
	add(aCase{name: "matvec", activations: "f32", format: affineFormat(8, 32), shape: shape{1, 1024, 4096}})
	add(aCase{name: "matvec", activations: "f32", format: affineFormat(8, 32), shape: shape{1, 32768, 1024}})
	add(aCase{name: "grouped", activations: "f32", format: affineFormat(8, 32), shape: shape{1, 8192, 4096}, groups: 8})
	add(aCase{name: "head", activations: "f32", format: affineFormat(8, 64), shape: shape{1, 129280, 4096}, want: 0.70})
	for _, f := range []tensor.Format{affineFormat(4, 32), mx.FP4} {
		add(aCase{name: "experts", activations: "f32", format: f, shape: shape{1, 2048, 4096}, picks: 6, experts: 256, want: 0.40})
	}
	add(aCase{name: "matfew", activations: "f32", format: affineFormat(4, 64), shape: shape{8, 8192, 8192}})
	rates := map[string]float64{"f16": 30e12, "bf16": 0, "f32": 10e12}
	for _, a := range []string{"f16", "bf16", "f32"} {
		add(aCase{name: "matmul", activations: a, format: affineFormat(4, 64), shape: shape{2048, 4096, 4096}, rate: rates[a]})
	}
	add(aCase{name: "matmul", activations: "f16", format: affineFormat(8, 32), shape: shape{2048, 4096, 4096}, rate: 30e12})
	add(aCase{name: "matmul", activations: "f16", format: affineFormat(8, 32), shape: shape{2048, 32768, 1024}})
	add(aCase{name: "experts", activations: "f16", format: affineFormat(4, 32), shape: shape{2048, 2048, 4096}, picks: 6, experts: 256})
	return all
}

// scaled is the case with its sizes divided, but for what kernels want of them.
func (c aCase) scaled(by int) aCase {
	part := func(n, step int) int { return max(n/by/step*step, step) }
	if by > 1 {
		c.shape = shape{max(c.shape.tokens/by, min(c.shape.tokens, 9)), part(c.shape.rows, 128), part(c.shape.cols, 128)}
		c.experts = c.experts / by
		if c.picks > 0 {
			c.experts = max(c.experts, 2*c.picks)
		}
	}
	return c
}

func (c aCase) text() string {
	s := fmt.Sprintf("%dx%d %v", c.shape.rows, c.shape.cols, c.format)
	if c.picks > 0 {
		s = fmt.Sprintf("%d of %d, %s", c.picks, c.experts, s)
	}
	if c.groups > 0 {
		s = fmt.Sprintf("%d groups, %s", c.groups, s)
	}
	if c.shape.tokens > 1 {
		s = fmt.Sprintf("%d tokens, %s", c.shape.tokens, s)
	}
	return s
}

// bench is what a case runs with.
type bench struct {
	dev  *recorder
	ops  dsv4.Ops
	o    Options
	rand *rand.Rand
}

func (c aCase) time(dev host.Device, o Options) (Row, error) {
	c = c.scaled(o.Divide)
	row := Row{Name: c.name, Shape: c.text(), Activations: c.activations, Want: c.want, WantRate: c.rate}
	b := &bench{dev: &recorder{Device: dev}, o: o, rand: rand.New(rand.NewPCG(1, 2))}
	m, err := metal.New(b.dev, metal.Options{Activations: c.activations})
	if err != nil {
		return row, err
	}
	config := &dsv4.Config{
		HiddenSize: c.shape.cols, MoEIntermediateSize: c.shape.rows, NRoutedExperts: max(c.experts, 1), NumExpertsPerTok: max(c.picks, 1),
		NSharedExperts: 1, SwigluLimit: 10, HCMult: 1, VocabSize: c.shape.rows,
	}
	if b.ops, err = m.Ops(config); err != nil {
		return row, err
	}
	defer m.Release(b.ops)
	if c.picks > 0 {
		err = b.expertsOf(c, &row)
	} else {
		err = b.product(c, &row)
	}
	return row, err
}

// weight makes a matrix whose codes are random and whose scales are all one
// number: what a kernel computes is of no matter, but zeros could be faster.
func (b *bench) weight(f tensor.Format, rows, cols int) *tensor.Matrix {
	codes, scales, biases := f.Sizes(rows, cols)
	m := &tensor.Matrix{Name: "w", Rows: rows, Cols: cols, Format: f, Codes: make([]byte, codes), Scales: make([]byte, scales), Biases: make([]byte, biases)}
	for i := range min(len(m.Codes), 1<<20) {
		m.Codes[i] = byte(b.rand.Uint32())
	}
	for done := 1 << 20; done < len(m.Codes); done *= 2 {
		copy(m.Codes[done:], m.Codes[:done])
	}
	switch f {
	case mx.FP4, mx.FP8:
		fill(m.Scales, 120)
	case tensor.PlainFormat(tensor.BF16):
		for i := 1; i < len(m.Codes); i += 2 {
			m.Codes[i] = m.Codes[i]&0x81 | 0x3c // of about 0.01
		}
	default:
		fill(m.Scales, 0, 0x3c) // 2^-7
		fill(m.Biases, 0, 0xbd) // -2^-5
	}
	return m
}

func fill(b []byte, pattern ...byte) {
	for i := range b {
		b[i] = pattern[i%len(pattern)]
	}
}

func (b *bench) draw(n int) (dsv4.Array, error) {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(b.rand.NormFloat64())
	}
	return b.ops.Wrap(v)
}

// batch is tokens of one sequence.
func batch(n int) *dsv4.Batch {
	return &dsv4.Batch{Tokens: make([]token.ID, n), Spans: []dsv4.Span{{Len: n}}, Decode: n == 1}
}

// copies is how many sets of so many bytes no cache holds.
func (b *bench) copies(bytes int64) int {
	return int(4*b.o.Cache/bytes/int64(b.o.Divide*b.o.Divide)) + 1
}

// product times Linear or GroupLinear.
func (b *bench) product(c aCase, row *Row) error {
	s, groups := c.shape, max(c.groups, 1)
	host := b.weight(c.format, s.rows, s.cols)
	var weights []dsv4.Weight
	for range b.copies(host.Bytes()) {
		w, err := b.ops.Load(host)
		if err != nil {
			return err
		}
		weights = append(weights, w)
	}
	x, err := b.draw(s.tokens * groups * s.cols)
	if err != nil {
		return err
	}
	y, err := b.ops.NewArray(s.tokens * s.rows)
	if err != nil {
		return err
	}
	t := batch(s.tokens)
	row.Bytes = weights[0].Bytes() + 4*int64(s.tokens)*int64(groups*s.cols+s.rows)
	row.FLOPs = 2 * int64(s.tokens) * int64(s.rows) * int64(s.cols)
	return measure(row, b.dev, b.o, b.ops, y, len(weights), func(i int) {
		if c.groups > 0 {
			b.ops.GroupLinear(t, weights[i], groups, x, y)
		} else {
			b.ops.Linear(t, x, dsv4.Product{W: weights[i], Y: y})
		}
	})
}

// lists is how many different choices of experts a case rotates over.
const lists = 32

// expertsOf times Experts, each call with other experts.
func (b *bench) expertsOf(c aCase, row *Row) error {
	s := c.shape
	up, down := b.weight(c.format, s.rows, s.cols), b.weight(c.format, s.cols, s.rows)
	all := make([]dsv4.ExpertMatrices, c.experts)
	for i := range all {
		all[i] = dsv4.ExpertMatrices{W1: up, W3: up, W2: down}
	}
	var e dsv4.Experts
	var err error
	if e.Routed, err = b.ops.LoadExperts(all); err != nil {
		return err
	}
	for _, l := range []struct {
		dst *dsv4.Weight
		m   *tensor.Matrix
	}{{&e.Shared.W1, up}, {&e.Shared.W3, up}, {&e.Shared.W2, down}} {
		if *l.dst, err = b.ops.Load(l.m); err != nil {
			return err
		}
	}
	picks, used, err := b.picks(c)
	if err != nil {
		return err
	}
	u, err := b.draw(s.tokens * s.cols)
	if err != nil {
		return err
	}
	weights, err := b.draw(s.tokens * c.picks)
	if err != nil {
		return err
	}
	y, err := b.ops.NewArray(s.tokens * s.cols)
	if err != nil {
		return err
	}
	one := 2*up.Bytes() + down.Bytes()
	row.Bytes = int64(float64(one) * (used + 1))
	row.FLOPs = 2 * int64(s.tokens) * int64(c.picks+1) * 3 * int64(s.rows) * int64(s.cols)
	t := batch(s.tokens)
	return measure(row, b.dev, b.o, b.ops, y, lists, func(i int) { b.ops.Experts(t, &e, u, picks[i], weights, y) })
}

// picks makes lists of experts, no expert twice for a token, and says how many
// experts a list has on average.
func (b *bench) picks(c aCase) (arrays []dsv4.Array, used float64, err error) {
	for range lists {
		var v []int32
		seen := map[int32]bool{}
		for range c.shape.tokens {
			for _, p := range b.rand.Perm(c.experts)[:c.picks] {
				v = append(v, int32(p))
				seen[int32(p)] = true
			}
		}
		used += float64(len(seen)) / lists
		a, err := b.ops.NewInts(len(v))
		if err != nil {
			return nil, 0, err
		}
		if err := b.ops.(interface {
			SetInts(dsv4.Array, []int32) error
		}).SetInts(a, v); err != nil {
			return nil, 0, err
		}
		arrays = append(arrays, a)
	}
	return arrays, used, nil
}
