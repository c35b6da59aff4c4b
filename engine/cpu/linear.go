package cpu

import (
	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/tensor"
)

// Embed decodes each token's row once and repeats it.
func (o *ops) Embed(b *dsv4.Batch, w dsv4.Weight, x dsv4.Array) {
	m, out := w.(*matrix), x.(floats)
	d, n := o.c.HiddenSize, o.c.HCMult
	o.pool.ranges(len(b.Tokens), 64, func(_, from, to int) {
		for t := from; t < to; t++ {
			row := out[t*n*d:][:n*d]
			decodeRow(row[:d], &m.Matrix, int(b.Tokens[t]))
			for j := 1; j < n; j++ {
				copy(row[j*d:], row[:d])
			}
		}
	})
}

// Linear is y = x·wᵀ of each product.
func (o *ops) Linear(b *dsv4.Batch, x dsv4.Array, products ...dsv4.Product) {
	in := x.(floats)
	if b.Decode {
		o.begin()
		for _, p := range products {
			w := &p.W.(*matrix).Matrix
			o.add(w, 0, w.Rows, o.prepare(w, in), p.Y.(floats))
		}
		o.run()
		return
	}
	for _, p := range products {
		o.product(false, &p.W.(*matrix).Matrix, in, p.Y.(floats), len(b.Tokens))
	}
}

// product is y [n, rows] = x [n, cols]·wᵀ on all threads.
func (o *ops) product(decode bool, w *kernel.Matrix, x, y []float32, n int) {
	if decode {
		o.matvec(w, x, y)
		return
	}
	o.matmul(kernel.MatMul{W: w, To: w.Rows, X: x, LdX: w.Cols, Y: y, LdY: w.Rows, N: n})
}

// GroupLinear multiplies each group of x with its own rows of w.
func (o *ops) GroupLinear(b *dsv4.Batch, w dsv4.Weight, groups int, x, y dsv4.Array) {
	m, in, out := w.(*matrix), x.(floats), y.(floats)
	rows := m.Rows / groups
	if b.Decode {
		o.begin()
		for g := range groups {
			o.add(&m.Matrix, g*rows, (g+1)*rows, o.prepare(&m.Matrix, in[g*m.Cols:][:m.Cols]), out)
		}
		o.run()
		return
	}
	for g := range groups {
		part := rowsOf(&m.Matrix, g*rows, rows)
		o.matmul(kernel.MatMul{W: &part, To: rows, X: in[g*m.Cols:], LdX: groups * m.Cols,
			Y: out[g*rows:], LdY: groups * rows, N: len(b.Tokens)})
	}
}

// rowsOf views n rows of w.
func rowsOf(w *kernel.Matrix, from, n int) kernel.Matrix {
	part := *w
	cut := func(all []byte) []byte {
		each := len(all) / w.Rows
		return all[from*each : (from+n)*each]
	}
	part.Rows, part.Codes, part.Scales, part.Biases = n, cut(w.Codes), cut(w.Scales), cut(w.Biases)
	return part
}

// matmulTokens is how many rows of x are worth decoding a panel of weights again.
const matmulTokens = 256

// matmul runs a product on all threads: panels of weights times pieces of x.
func (o *ops) matmul(a kernel.MatMul) {
	panels := (a.To - a.From + kernel.Panel - 1) / kernel.Panel
	pieces := 1
	for panels*pieces < 4*o.pool.n && a.N/(2*pieces) >= matmulTokens {
		pieces *= 2
	}
	o.pool.each(panels*pieces, func(worker, item int) {
		p, at := item/pieces, item%pieces
		part := a
		part.From = a.From + p*kernel.Panel
		part.To = min(part.From+kernel.Panel, a.To)
		from, to := a.N*at/pieces, a.N*(at+1)/pieces
		part.N = to - from
		part.X, part.Y = a.X[from*a.LdX:], a.Y[from*a.LdY:]
		part.Panel = o.scratch(worker, a.W.Cols*kernel.Panel)
		o.k.MatMul(&part)
	})
}

// decodeRow writes one row of w as float32.
func decodeRow(dst []float32, w *kernel.Matrix, row int) {
	m := tensor.Matrix{Rows: w.Rows, Cols: w.Cols, Codes: w.Codes, Scales: w.Scales, Biases: w.Biases}
	formatOf(w).DecodeRow(dst, &m, row)
}
