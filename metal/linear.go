package metal

import (
	"assay/engine/dsv4"
	"assay/metal/host"
	"assay/metal/kernels"
)

// run is tokens of a batch that go through a product together. Which kernel they
// take depends on their own sequence alone, and so do their results: a short
// piece of a sequence is a run of its own, long ones side by side are one.
type run struct {
	from, n int
	few     bool
}

// runs cuts a batch.
func runs(b *dsv4.Batch) []run {
	var all []run
	for _, s := range b.Spans {
		few := s.Len <= kernels.Tuned.Few
		if last := len(all) - 1; !few && last >= 0 && !all[last].few && all[last].from+all[last].n == s.From {
			all[last].n += s.Len
			continue
		}
		all = append(all, run{s.From, s.Len, few})
	}
	return all
}

// activation is the type that inputs of products with a matrix of a format are
// rounded to: stored numbers that nobody quantized are multiplied as they are.
func (o *ops) activation(f kernels.Format) string {
	if f.Group == 0 {
		return "float"
	}
	return activationTypes[o.opt.Activations]
}

// args binds a matrix. Where a format has no scales or no biases, the codes
// stand for what no kernel reads.
func (m *matrix) args() []host.Arg {
	all := []host.Arg{weight(m.codes), unused(m.codes), unused(m.codes)}
	if m.scales.buf != nil {
		all[1] = weight(m.scales)
	}
	if m.biases.buf != nil {
		all[2] = weight(m.biases)
	}
	return all
}

// unused binds what a kernel has as an argument and does not touch.
func unused(s span) host.Arg { return host.Arg{Buffer: s.buf, At: s.at} }

// Linear is y = x·wᵀ for each product.
func (o *ops) Linear(b *dsv4.Batch, x dsv4.Array, products ...dsv4.Product) {
	if b.Decode {
		o.matvecs(x.(array), products)
		return
	}
	for _, p := range products {
		m, y := p.W.(*matrix), p.Y.(array)
		for _, r := range runs(b) {
			o.product(m, 1, r, x.(array), y, o.activation(m.format))
		}
	}
}

// GroupLinear multiplies each group of x with its own rows of w.
func (o *ops) GroupLinear(b *dsv4.Batch, w dsv4.Weight, groups int, x, y dsv4.Array) {
	m := w.(*matrix)
	if b.Decode {
		o.matvec(m, groups, x.(array), y.(array), o.activation(m.format))
		return
	}
	for _, r := range runs(b) {
		o.product(m, groups, r, x.(array), y.(array), o.activation(m.format))
	}
}

// matvecs multiplies one row with matrices: those of one format together.
func (o *ops) matvecs(x array, products []dsv4.Product) {
	for len(products) > 0 {
		first := products[0].W.(*matrix)
		var same, rest []dsv4.Product
		for _, p := range products {
			if m := p.W.(*matrix); len(same) == 0 || len(same) < kernels.MatVecsMax && len(first.parts)+len(m.parts) == 0 && m.format == first.format && m.cols == first.cols {
				same = append(same, p)
			} else {
				rest = append(rest, p)
			}
		}
		if len(same) == 1 {
			o.matvec(first, 1, x, same[0].Y.(array), o.activation(first.format))
		} else {
			o.together(x, same)
		}
		products = rest
	}
}

// together multiplies one row with up to seven matrices of a format.
func (o *ops) together(x array, products []dsv4.Product) {
	first := products[0].W.(*matrix)
	rows, bytes := 0, int64(0)
	for _, p := range products {
		rows += p.W.(*matrix).rows
		bytes += p.W.(*matrix).Bytes()
	}
	cut := kernels.Tuned.Cut(first.format, rows, first.cols)
	p := kernels.MatVecsArgs{Cols: uint32(first.cols)}
	counts := []*uint32{&p.Rows0, &p.Rows1, &p.Rows2, &p.Rows3, &p.Rows4, &p.Rows5, &p.Rows6}
	starts := []*uint32{nil, &p.From1, &p.From2, &p.From3, &p.From4, &p.From5, &p.From6}
	var args []host.Arg
	blocks := 0
	for i := range kernels.MatVecsMax {
		if i >= len(products) {
			*starts[i] = 1<<32 - 1
			args = append(args, unused(first.codes), unused(first.codes), unused(first.codes), unused(first.codes))
			continue
		}
		m, y := products[i].W.(*matrix), products[i].Y.(array)
		if i > 0 {
			*starts[i] = uint32(blocks)
		}
		*counts[i] = uint32(m.rows)
		blocks += cut.Blocks(m.rows)
		args = append(append(args, m.args()...), out(y, 0, m.rows))
	}
	args = append(args, in(x, 0, first.cols), raw(&p))
	o.dispatch(kernels.MatVecs(first.format, o.activation(first.format), cut), first.name, [3]int{blocks, 1, 1}, cut.Threads(),
		bytes, 2*int64(rows)*int64(first.cols), args...)
}

// matvec multiplies one row with a matrix, group by group.
func (o *ops) matvec(m *matrix, groups int, x, y array, a string) {
	if len(m.parts) > 0 {
		for _, part := range m.parts {
			o.matvec(part, groups, x, o.Slice(y, part.first, part.rows).(array), a)
		}
		return
	}
	rows := m.rows / groups
	cut := kernels.Tuned.Cut(m.format, m.rows, m.cols)
	p := kernels.MatVecArgs{Rows: uint32(rows), Cols: uint32(m.cols)}
	o.dispatch(kernels.MatVec(m.format, a, cut), m.name, [3]int{cut.Blocks(rows), 1, groups}, cut.Threads(),
		m.Bytes(), 2*int64(m.rows)*int64(m.cols),
		append(m.args(), in(x, 0, groups*m.cols), out(y, 0, m.rows), raw(&p))...)
}

// product multiplies the tokens of a run with a matrix, group by group.
func (o *ops) product(m *matrix, groups int, r run, x, y array, a string) {
	for _, part := range m.pieces() {
		o.productOf(part, groups, r, x, y, part.first, m.rows, a)
	}
}

// productOf multiplies with a matrix, whose rows are those from first on of ldy in
// all.
func (o *ops) productOf(m *matrix, groups int, r run, x, y array, first, ldy int, a string) {
	rows, ldx := m.rows/groups, groups*m.cols
	args := append(m.args(), in(x, r.from*ldx, r.n*ldx), out(y, r.from*ldy+first, (r.n-1)*ldy+m.rows))
	flops := 2 * int64(r.n) * int64(m.rows) * int64(m.cols)
	bytes := m.Bytes() + 4*int64(r.n)*int64(ldx+m.rows)
	if r.few {
		p := kernels.MatFewArgs{Tokens: uint32(r.n), Rows: uint32(rows), Cols: uint32(m.cols), LdX: uint32(ldx), LdY: uint32(ldy)}
		most := kernels.FewTokens(r.n)
		cut := kernels.Tuned.FewCut(most, m.rows, m.cols)
		o.dispatch(kernels.MatFew(m.format, a, most, cut), m.name, [3]int{cut.Blocks(rows), 1, groups}, cut.Threads(),
			bytes, flops, append(args, raw(&p))...)
		return
	}
	p := kernels.MatMulArgs{Tokens: uint32(r.n), Rows: uint32(rows), Cols: uint32(m.cols), LdX: uint32(ldx), LdY: uint32(ldy)}
	down := kernels.Tuned.Down(r.n)
	o.dispatch(kernels.MatMul(m.format, a, down), m.name, [3]int{ceil(rows, kernels.MatMulRows), ceil(r.n, down), groups},
		kernels.MatMulThreads, bytes, flops, append(args, raw(&p))...)
}

// Embed decodes each token's row once and repeats it.
func (o *ops) Embed(b *dsv4.Batch, w dsv4.Weight, x dsv4.Array) {
	m, t := w.(*matrix), len(b.Tokens)
	n := o.c.HCMult * m.cols
	threads := 64
	for _, part := range m.pieces() {
		p := kernels.EmbedArgs{Rows: uint32(part.rows), Cols: uint32(m.cols), Streams: uint32(o.c.HCMult), First: uint32(part.first), Vocab: uint32(m.rows)}
		o.dispatch(kernels.Embed(m.format), m.name, [3]int{ceil(m.cols, kernels.EmbedWeights*threads), t, 1}, threads,
			4*int64(t)*int64(n), 2*int64(t)*int64(m.cols),
			append(part.args(), in(o.tokens(b), 0, t), out(x.(array), 0, t*n), raw(&p))...)
	}
}

func ceil(n, d int) int { return (n + d - 1) / d }
