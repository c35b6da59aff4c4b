package timing

import (
	"fmt"
	"math/rand/v2"

	"assay/engine/dsv4"
	"assay/engine/tensor"
	"assay/metal"
	"assay/metal/host"
)

// layer is V4-Flash's sizes, of which its operations that are no matrix products
// are timed at a depth of 2,048 tokens.
func layer(divide int) *dsv4.Config {
	by := func(n, least int) int { return max(n/divide, least) }
	return &dsv4.Config{
		VocabSize: 1024, HiddenSize: by(4096, 64), NumAttentionHeads: by(64, 1), NumKeyValueHeads: 1, HeadDim: by(512, 32), QKRopeHeadDim: by(64, 16),
		QLoraRank: by(1024, 16), NRoutedExperts: by(256, 8), NSharedExperts: 1, NumExpertsPerTok: 6, RoutedScalingFactor: 1.5,
		SlidingWindow: by(128, 8), CompressRatios: []int{dsv4.OverlapRatio, 128}, IndexNHeads: by(64, 1), IndexHeadDim: by(128, 16), IndexTopK: by(512, 8),
		HCMult: 4, HCSinkhornIters: 20, HCEps: 1e-6, RMSNormEps: 1e-6, RopeTheta: 1e4, CompressRopeTheta: 1.6e5,
		RopeScaling: dsv4.RopeScaling{Type: "yarn", Factor: 16, OriginalMaxPositionEmbeddings: 65536, BetaFast: 32, BetaSlow: 1},
	}
}

const depth = 2048

// step is one operation of a layer, to be made for a position and some tokens.
type step struct {
	name   string
	detail string
	ratio  int // of the layer's compressor
	deep   int // positions beyond depth
	make   func(l *layerBench, b *dsv4.Batch, row *Row) (func(), error)
}

func steps() []step {
	return []step{
		{"hyperin", "", 0, 0, (*layerBench).hyperIn}, {"hyperout", "", 0, 0, (*layerBench).hyperOut}, {"latents", "", 0, 0, (*layerBench).latents},
		{"attend", "window", 0, 0, (*layerBench).attend}, {"attend", "window, 512 picks", 4, 0, (*layerBench).attend},
		{"attend", "window, 128:1", 128, 0, (*layerBench).attend},
		{"compress", "4:1, none closes", 4, 0, (*layerBench).compress}, {"compress", "4:1, one closes", 4, 3, (*layerBench).compress},
		{"compress", "128:1, one closes", 128, 127, (*layerBench).compress},
		{"select", "all are seen", 4, 0, (*layerBench).choose}, {"select", "512 of 8,192", 4, 32768 - depth, (*layerBench).choose},
		{"route", "", 0, 0, (*layerBench).route},
	}
}

// layerBench is what steps run with.
type layerBench struct {
	*bench
	c *dsv4.Config
	y dsv4.Array // what is waited for
}

// timeSteps times every step, for a decoded token and for 512 tokens.
func timeSteps(dev host.Device, o Options, each func(Row) error) error {
	for _, s := range steps() {
		for _, tokens := range []int{1, max(512/o.Divide, 2)} {
			for _, a := range []string{"f32", "f16"} {
				if a != "f32" && s.name != "attend" && s.name != "select" || !o.wants(s.name) || tokens > 1 && s.name == "compress" && s.deep > 0 {
					continue
				}
				row, err := s.time(dev, o, tokens, a)
				if err != nil {
					return fmt.Errorf("timing: %s %s: %w", row.Name, row.Shape, err)
				}
				if err := each(row); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s step) time(dev host.Device, o Options, tokens int, activations string) (Row, error) {
	row := Row{Name: s.name, Shape: fmt.Sprintf("%d tokens", tokens), Activations: activations}
	if tokens == 1 {
		row.Shape = "1 token"
	}
	if s.detail != "" {
		row.Shape += ", " + s.detail
	}
	l := &layerBench{bench: &bench{dev: &recorder{Device: dev}, o: o, rand: rand.New(rand.NewPCG(1, 2))}, c: layer(o.Divide)}
	m, err := metal.New(l.dev, metal.Options{Activations: activations})
	if err != nil {
		return row, err
	}
	if l.ops, err = m.Ops(l.c); err != nil {
		return row, err
	}
	defer m.Release(l.ops)
	b := batch(tokens)
	b.Spans[0].Pos = depth + s.deep
	if b.Spans[0].State, err = l.state(s.ratio, b.Spans[0].Pos+tokens); err != nil {
		return row, err
	}
	if l.y, err = l.draw(1); err != nil {
		return row, err
	}
	do, err := s.make(l, b, &row)
	if err != nil {
		return row, err
	}
	return row, measure(&row, l.dev, o, l.ops, l.y, 1, func(int) { do() })
}

// state is what a layer with a compressor of a ratio remembers.
func (l *layerBench) state(ratio, tokens int) (*dsv4.LayerState, error) {
	s := &dsv4.LayerState{}
	arrays := []*dsv4.Array{&s.Window}
	sizes := []int{l.c.SlidingWindow * l.c.HeadDim}
	pool := func(width int) *dsv4.Pool {
		p := &dsv4.Pool{Slots: 2 * ratio}
		arrays = append(arrays, &p.Values, &p.Gates, &p.Entries)
		sizes = append(sizes, p.Slots*2*width, p.Slots*2*width, (tokens/ratio+1)*width)
		return p
	}
	if ratio != 0 {
		s.Main = pool(l.c.HeadDim)
	}
	if ratio == dsv4.OverlapRatio {
		s.Index = pool(l.c.IndexHeadDim)
	}
	for i, a := range arrays {
		var err error
		if *a, err = l.ops.NewArray(sizes[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// arrays makes arrays of so many elements of random numbers.
func (l *layerBench) arrays(sizes ...int) ([]dsv4.Array, error) {
	var all []dsv4.Array
	for _, n := range sizes {
		a, err := l.draw(n)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func (l *layerBench) hyper() (*dsv4.Hyper, error) {
	n, d := l.c.HCMult, l.c.HiddenSize
	rows := (2 + n) * n
	fn, err := l.ops.Load(l.weight(tensor.PlainFormat(tensor.F32), rows, n*d))
	if err != nil {
		return nil, err
	}
	norm, err := l.ops.LoadVector("norm", make([]float32, d))
	return &dsv4.Hyper{Fn: fn, Base: make([]float32, rows), Scale: [3]float32{1, 1, 1}, Norm: norm}, err
}

func (l *layerBench) hyperIn(b *dsv4.Batch, row *Row) (func(), error) {
	t, n, d := len(b.Tokens), l.c.HCMult, l.c.HiddenSize
	h, err := l.hyper()
	if err != nil {
		return nil, err
	}
	a, err := l.arrays(t*n*d, t*d, t*(n+n*n))
	row.Bytes, row.FLOPs = 4*int64(((2+n)*n+t)*n*d+t*d), 2*int64(t*(2+n)*n*n*d)
	return func() { l.ops.HyperIn(b, h, a[0], a[1], a[2]) }, err
}

func (l *layerBench) hyperOut(b *dsv4.Batch, row *Row) (func(), error) {
	t, n, d := len(b.Tokens), l.c.HCMult, l.c.HiddenSize
	a, err := l.arrays(t*(n+n*n), t*d, t*n*d)
	row.Bytes, row.FLOPs = 4*int64(t*(2*n+1)*d), 2*int64(t*n*(n+1)*d)
	return func() { l.ops.HyperOut(b, a[0], a[1], a[2]) }, err
}

func (l *layerBench) latents(b *dsv4.Batch, row *Row) (func(), error) {
	t, rank, d := len(b.Tokens), l.c.QLoraRank, l.c.HeadDim
	q, err := l.ops.LoadVector("q", make([]float32, rank))
	if err != nil {
		return nil, err
	}
	k, err := l.ops.LoadVector("k", make([]float32, d))
	if err != nil {
		return nil, err
	}
	rope, err := l.rope(b, 0)
	if err != nil {
		return nil, err
	}
	a, err := l.arrays(t*rank, t*d)
	row.Bytes, row.FLOPs = 8*int64(t*(rank+d)), 4*int64(t*(rank+d))
	return func() { l.ops.Latents(b, q, a[0], k, rope, a[1]) }, err
}

func (l *layerBench) rope(b *dsv4.Batch, ratio int) (dsv4.Weight, error) {
	return l.ops.LoadRope(l.c.Frequencies(ratio), b.Spans[0].Pos+len(b.Tokens))
}

func (l *layerBench) attend(b *dsv4.Batch, row *Row) (func(), error) {
	t, heads, d, s := len(b.Tokens), l.c.NumAttentionHeads, l.c.HeadDim, b.Spans[0]
	at := &dsv4.Attention{}
	keys := int64(t) * int64(l.c.SlidingWindow)
	var picks dsv4.Array
	switch {
	case s.State.Index != nil:
		at.Ratio = dsv4.OverlapRatio
		keys += int64(t) * int64(l.c.IndexTopK)
		var v []int32
		for range t {
			for i := range l.c.IndexTopK {
				v = append(v, int32(i))
			}
		}
		var err error
		if picks, err = l.ops.NewInts(len(v)); err != nil {
			return nil, err
		}
		if err := l.ops.(interface {
			SetInts(dsv4.Array, []int32) error
		}).SetInts(picks, v); err != nil {
			return nil, err
		}
	case s.State.Main != nil:
		at.Ratio = s.State.Main.Slots / 2
		keys += int64(t) * int64(s.Pos/at.Ratio)
	}
	var err error
	if at.Rope, err = l.rope(b, at.Ratio); err != nil {
		return nil, err
	}
	if at.Sinks, err = l.ops.LoadVector("sinks", make([]float32, heads)); err != nil {
		return nil, err
	}
	a, err := l.arrays(t*heads*d, t*d, t*heads*d)
	row.Bytes, row.FLOPs = 4*(keys*int64(d)+2*int64(t*heads*d)), 4*keys*int64(heads*d)
	return func() { l.ops.Attend(b, at, a[0], a[1], picks, a[2]) }, err
}

func (l *layerBench) compress(b *dsv4.Batch, row *Row) (func(), error) {
	p := b.Spans[0].State.Main
	ratio, d := p.Slots/2, l.c.HeadDim
	c := &dsv4.Compressor{Ratio: ratio, Width: d, Overlap: ratio == dsv4.OverlapRatio}
	ch := d
	if c.Overlap {
		ch = 2 * d
	} else {
		p.Slots = ratio
	}
	var err error
	if c.Bias, err = l.ops.LoadVector("bias", make([]float32, ratio*ch)); err != nil {
		return nil, err
	}
	if c.Norm, err = l.ops.LoadVector("norm", make([]float32, d)); err != nil {
		return nil, err
	}
	if c.Rope, err = l.rope(b, ratio); err != nil {
		return nil, err
	}
	t := len(b.Tokens)
	closed := (b.Spans[0].Pos+t)/ratio - b.Spans[0].Pos/ratio
	a, err := l.arrays(t*ch, t*ch)
	row.Bytes, row.FLOPs = 4*int64(2*closed*p.Slots*d+4*min(t, p.Slots)*ch), 6*int64(closed*p.Slots*d)+int64(min(t, p.Slots)*ch)
	return func() {
		l.ops.Compress(b, c, func(s *dsv4.LayerState) *dsv4.Pool { return s.Main }, a[0], a[1])
	}, err
}

// choose times Select.
func (l *layerBench) choose(b *dsv4.Batch, row *Row) (func(), error) {
	t, heads, d, k := len(b.Tokens), l.c.IndexNHeads, l.c.IndexHeadDim, l.c.IndexTopK
	rope, err := l.rope(b, dsv4.OverlapRatio)
	if err != nil {
		return nil, err
	}
	picks, err := l.ops.NewInts(t * k)
	if err != nil {
		return nil, err
	}
	a, err := l.arrays(t*heads*d, t*heads)
	row.Bytes, row.FLOPs = 4*int64(t*(heads*d+k)), 1
	if n := b.Spans[0].Pos / dsv4.OverlapRatio; n > k {
		row.Bytes += 4 * int64(n*d+t*n)
		row.FLOPs = 2 * int64(t) * int64(n*heads*d)
	}
	return func() { l.ops.Select(b, rope, a[0], a[1], picks) }, err
}

func (l *layerBench) route(b *dsv4.Batch, row *Row) (func(), error) {
	t, d, n, k := len(b.Tokens), l.c.HiddenSize, l.c.NRoutedExperts, l.c.NumExpertsPerTok
	gate, err := l.ops.Load(l.weight(tensor.PlainFormat(tensor.BF16), n, d))
	if err != nil {
		return nil, err
	}
	bias, err := l.ops.LoadVector("bias", make([]float32, n))
	if err != nil {
		return nil, err
	}
	picks, err := l.ops.NewInts(t * k)
	if err != nil {
		return nil, err
	}
	a, err := l.arrays(t*d, t*k)
	row.Bytes, row.FLOPs = gate.Bytes()+4*int64(t*(d+n)), 2*int64(t)*int64(n*d)
	r := &dsv4.Router{Gate: gate, Bias: bias}
	return func() { l.ops.Route(b, r, a[0], picks, a[1]) }, err
}
