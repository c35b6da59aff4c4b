package metal

import (
	"assay/engine/dsv4"
	"assay/metal/host"
	"assay/metal/kernels"
)

// expertRooms is what Experts keeps on the device.
type expertRooms struct{ up, parts, counts, lists, tiles array }

// expertBytes is the scratch of Experts for t tokens.
func expertBytes(c *dsv4.Config, t, _ int) int64 {
	k, wide := c.NumExpertsPerTok, c.MoEIntermediateSize*max(c.NSharedExperts, 1)
	n := t*(k+1)*wide + t*k + c.NRoutedExperts
	if t > kernels.Tuned.Few {
		n += t*k*c.HiddenSize + 1 + 3*mostTiles(t*k, c.NRoutedExperts, kernels.Tuned.ListDown(t, t*k, c.NRoutedExperts))
	}
	return 4 * int64(n)
}

// mostTiles is how many tiles of up to down entries n entries of experts can make.
func mostTiles(n, experts, down int) int { return (n + min(n, experts)*(down-1)) / down }

// feed is one call of Experts for a run of its tokens.
type feed struct {
	routed  *experts
	shared  [3]*matrix
	run     run
	k, lda  int
	u, y    array
	picks   array
	weights array
	up      array
}

// Experts runs the picked experts and the shared one on each token.
func (o *ops) Experts(b *dsv4.Batch, x *dsv4.Experts, u, picks, weights, y dsv4.Array) {
	f := feed{
		routed: x.Routed.(*experts), k: o.c.NumExpertsPerTok,
		shared: [3]*matrix{x.Shared.W1.(*matrix), x.Shared.W3.(*matrix), x.Shared.W2.(*matrix)},
		u:      u.(array), picks: picks.(array), weights: weights.(array), y: y.(array),
	}
	if !o.check(&f) {
		return
	}
	f.lda = max(f.routed.w1.rows, f.shared[0].rows)
	all := runs(b)
	if b.Decode {
		all = []run{{0, 1, true}}
	}
	for _, f.run = range all {
		f.up = o.scratch(&o.expertRooms.up, f.run.n*(f.k+1)*f.lda)
		if f.run.few {
			o.each(&f)
		} else {
			o.sorted(&f)
		}
	}
}

// check refuses layers that the kernels do not take.
func (o *ops) check(f *feed) bool {
	switch {
	case f.k > kernels.MaxPicks:
		o.fail("%d experts a token, want at most %d", f.k, kernels.MaxPicks)
	case f.routed.w1.format != f.routed.w3.format || f.shared[0].format != f.shared[1].format:
		o.fail("tensors %q and %q: gate and up projection differ in format", f.routed.w1.name, f.shared[0].name)
	case f.routed.w1.rows != f.routed.w3.rows || f.shared[0].rows != f.shared[1].rows:
		o.fail("tensors %q and %q: gate and up projection differ in shape", f.routed.w1.name, f.shared[0].name)
	default:
		return true
	}
	return false
}

// tokens binds n elements a token of a, of the run's tokens.
func (f *feed) tokens(a array, n int, bind func(array, int, int) host.Arg) host.Arg {
	return bind(a, f.run.from*n, f.run.n*n)
}

// operand is a matrix of the kernels that take two formats.
func (o *ops) operand(m *matrix) kernels.Operand {
	return kernels.Operand{Format: m.format, Type: o.activation(m.format), Lane: m.format.Lane(m.cols)}
}

// each runs the experts of each token where they lie.
func (o *ops) each(f *feed) {
	w1, w3, w2, d := f.routed.w1, f.routed.w3, f.routed.w2, f.shared[2].rows
	n := f.run.n
	p := kernels.ExpertsArgs{
		Experts: uint32(w1.n), Picks: uint32(f.k), Cols: uint32(w1.cols), Shared: uint32(f.shared[0].rows),
		Rows: uint32(w1.rows), LdA: uint32(f.lda), Limit: float32(o.c.SwigluLimit),
	}
	args := append(append(append(append(w1.args(), w3.args()...), f.shared[0].args()...), f.shared[1].args()...),
		f.tokens(f.u, w1.cols, in), f.tokens(f.picks, f.k, in), f.tokens(f.weights, f.k, in),
		out(f.up, 0, n*(f.k+1)*f.lda), raw(&p))
	bytes := int64(n) * (int64(f.k)*(w1.Bytes()+w3.Bytes())/int64(w1.n) + f.shared[0].Bytes() + f.shared[1].Bytes())
	flops := 4 * int64(n) * int64(f.k+1) * int64(w1.rows) * int64(w1.cols)
	cut := kernels.Tuned.UpCut(w1.format, f.lda, w1.cols, f.k+1)
	o.dispatch(kernels.ExpertsUp(o.operand(&w1.matrix), o.operand(f.shared[0]), cut), w1.name,
		[3]int{cut.Blocks(f.lda), f.k + 1, n}, cut.Threads(), bytes, flops, args...)

	q := kernels.ExpertsArgs{
		Experts: uint32(w2.n), Picks: uint32(f.k), Cols: uint32(w2.cols), Shared: uint32(f.shared[2].cols),
		Rows: uint32(d), LdA: uint32(f.lda),
	}
	cut = kernels.Tuned.DownCut(w2.format, d, w2.cols, f.k+1)
	args = append(append(w2.args(), f.shared[2].args()...),
		f.tokens(f.picks, f.k, in), in(f.up, 0, n*(f.k+1)*f.lda), f.tokens(f.y, d, out), raw(&q))
	bytes = int64(n) * (int64(f.k)*w2.Bytes()/int64(w2.n) + f.shared[2].Bytes())
	o.dispatch(kernels.ExpertsDown(o.operand(&w2.matrix), o.operand(f.shared[2]), cut), w2.name,
		[3]int{ceil(d, cut.Block), n, 1}, cut.Threads(), bytes, flops/2, args...)
}

// sorted runs each expert on all tokens that picked it, the shared one on all,
// and adds up.
func (o *ops) sorted(f *feed) {
	w1, w3, w2, d := f.routed.w1, f.routed.w3, f.routed.w2, f.shared[2].rows
	n := f.run.n
	entries := n * f.k
	down := kernels.Tuned.ListDown(n, entries, w1.n)
	most := mostTiles(entries, w1.n, down)
	r := &o.expertRooms
	counts, lists := o.scratch(&r.counts, w1.n), o.scratch(&r.lists, entries)
	tiles, parts := o.scratch(&r.tiles, 1+3*most), o.scratch(&r.parts, entries*d)
	picks := f.tokens(f.picks, f.k, in)

	m := kernels.ExpertsMapArgs{Entries: uint32(entries), Experts: uint32(w1.n)}
	grid := [3]int{w1.n, 1, 1}
	scan := 4 * int64(entries) * int64(w1.n)
	o.dispatch(kernels.MapCount(), "map", grid, kernels.MapThreads, scan, scan, picks, out(counts, 0, w1.n), raw(&m))
	o.dispatch(kernels.MapLists(down), "map", grid, kernels.MapThreads, scan, scan, picks, in(counts, 0, w1.n),
		out(lists, 0, entries), out(tiles, 0, 1+3*most), raw(&m))

	p := kernels.TilesArgs{Tokens: uint32(n), Picks: uint32(f.k), Rows: uint32(w1.rows), Cols: uint32(w1.cols),
		LdA: uint32(f.lda), Limit: float32(o.c.SwigluLimit)}
	flops := 4 * int64(entries) * int64(w1.rows) * int64(w1.cols)
	o.dispatch(kernels.TilesUp(w1.format, o.activation(w1.format), down, true), w1.name,
		[3]int{ceil(w1.rows, kernels.MatMulRows/2), most, 1}, kernels.MatMulThreads, w1.Bytes()+w3.Bytes(), flops,
		append(append(w1.args(), w3.args()...), f.tokens(f.u, w1.cols, in), f.tokens(f.weights, f.k, in),
			in(lists, 0, entries), in(tiles, 0, 1+3*most), out(f.up, 0, entries*f.lda), raw(&p))...)

	o.sharedUp(f, entries)
	v := kernels.TilesArgs{Picks: uint32(f.k), Rows: uint32(d), Cols: uint32(w2.cols), LdA: uint32(f.lda)}
	o.dispatch(kernels.TilesDown(w2.format, o.activation(w2.format), down), w2.name,
		[3]int{ceil(d, kernels.MatMulRows), most, 1}, kernels.MatMulThreads, w2.Bytes(), flops/2,
		append(w2.args(), in(f.up, 0, entries*f.lda), in(lists, 0, entries), in(tiles, 0, 1+3*most), out(parts, 0, entries*d), raw(&v))...)
	o.sharedDown(f, entries, d)

	z := kernels.ExpertsSumArgs{Picks: uint32(f.k), Experts: uint32(w1.n), Cols: uint32(d)}
	o.dispatch(kernels.ExpertsSum(), "sum", [3]int{ceil(d, kernels.MapThreads), n, 1}, kernels.MapThreads,
		4*int64(entries+2*n)*int64(d), int64(entries)*int64(d), in(parts, 0, entries*d), picks, f.tokens(f.y, d, both), raw(&z))
}

// sharedUp is the shared expert's gate and up projection, into the rows of up
// that follow the routed experts'.
func (o *ops) sharedUp(f *feed, entries int) {
	w1, w3, n := f.shared[0], f.shared[1], f.run.n
	down := kernels.Tuned.Down(n)
	p := kernels.TilesArgs{Tokens: uint32(n), Picks: uint32(f.k), Rows: uint32(w1.rows), Cols: uint32(w1.cols),
		LdA: uint32(f.lda), Limit: float32(o.c.SwigluLimit)}
	o.dispatch(kernels.TilesUp(w1.format, o.activation(w1.format), down, false), w1.name,
		[3]int{ceil(w1.rows, kernels.MatMulRows/2), ceil(n, down), 1}, kernels.MatMulThreads, w1.Bytes()+w3.Bytes(),
		4*int64(n)*int64(w1.rows)*int64(w1.cols),
		append(append(w1.args(), w3.args()...), f.tokens(f.u, w1.cols, in), unused(w1.codes), unused(w1.codes), unused(w1.codes),
			out(f.up, entries*f.lda, n*f.lda), raw(&p))...)
}

// sharedDown puts the shared expert's part into y.
func (o *ops) sharedDown(f *feed, entries, d int) {
	m, n := f.shared[2], f.run.n
	down := kernels.Tuned.Down(n)
	p := kernels.MatMulArgs{Tokens: uint32(n), Rows: uint32(d), Cols: uint32(m.cols), LdX: uint32(f.lda), LdY: uint32(d)}
	o.dispatch(kernels.MatMul(m.format, o.activation(m.format), down), m.name,
		[3]int{ceil(d, kernels.MatMulRows), ceil(n, down), 1}, kernels.MatMulThreads, m.Bytes(), 2*int64(n)*int64(d)*int64(m.cols),
		append(m.args(), in(f.up, entries*f.lda, n*f.lda), f.tokens(f.y, d, out), raw(&p))...)
}
