package metal

import (
	"assay/engine/dsv4"
	"assay/metal/host"
	"assay/metal/kernels"
)

// HyperIn sums the products and squares of the streams slice by slice, then makes
// each token's mixes and input of them.
func (o *ops) HyperIn(b *dsv4.Batch, h *dsv4.Hyper, x, u, mix dsv4.Array) {
	t, n, d := len(b.Tokens), o.c.HCMult, o.c.HiddenSize
	fn, xs := h.Fn.(*matrix), x.(array)
	if !o.checkFn(fn, (2+n)*n) {
		return
	}
	part, args := o.hyperSums(b, fn, xs)
	k, threads := kernels.HyperIn(n, b.Decode)
	o.dispatch(k, fn.name+" in", [3]int{t, 2, 1}, threads, 4*int64(t*(n+2)*d), int64(t*(2*n+5)*d),
		in(part, 0, t*(fn.rows+1)*int(args.Slices)), in(xs, 0, t*n*d), in(h.Norm.(*vector).array, 0, d),
		o.control(fn, h.Scale[:], h.Base), both(u.(array), 0, t*d), out(mix.(array), 0, t*(n+n*n)), raw(&args))
}

// HyperOut mixes a sublayer's output into the streams.
func (o *ops) HyperOut(b *dsv4.Batch, mix, y, x dsv4.Array) {
	t, n, d := len(b.Tokens), o.c.HCMult, o.c.HiddenSize
	const each = 4 * kernels.HyperOutThreads
	o.dispatch(kernels.HyperOut(n), "hyper out", [3]int{(d + each - 1) / each, t, 1}, kernels.HyperOutThreads,
		4*int64(t*(2*n+1)*d), 2*int64(t*n*(n+1)*d),
		in(mix.(array), 0, t*(n+n*n)), in(y.(array), 0, t*d), both(x.(array), 0, t*n*d), raw(&kernels.HyperOutArgs{Width: uint32(d)}))
}

// HeadIn merges the streams for the output projection.
func (o *ops) HeadIn(b *dsv4.Batch, h *dsv4.HyperHead, norm dsv4.Weight, x, v dsv4.Array) {
	t, n, d := len(b.Tokens), o.c.HCMult, o.c.HiddenSize
	fn, xs := h.Fn.(*matrix), x.(array)
	if !o.checkFn(fn, n) {
		return
	}
	part, args := o.hyperSums(b, fn, xs)
	k, threads := kernels.HyperHead(n, b.Decode)
	o.dispatch(k, fn.name+" in", [3]int{t, 1, 1}, threads, 4*int64(t*(n+2)*d), int64(t*(2*n+5)*d),
		in(part, 0, t*(fn.rows+1)*int(args.Slices)), in(xs, 0, t*n*d), in(norm.(*vector).array, 0, d),
		o.control(fn, []float32{h.Scale, 0, 0}, h.Base), both(v.(array), 0, t*d), raw(&args))
}

// checkFn fails unless fn is what the kernels take: F32, which no recipe changes.
func (o *ops) checkFn(fn *matrix, rows int) bool {
	cols := o.c.HCMult * o.c.HiddenSize
	if fn.format.Kind == kernels.F32 && fn.rows == rows && fn.cols == cols {
		return true
	}
	o.fail("tensor %q: kind %d [%d, %d], want F32 [%d, %d]", fn.name, fn.format.Kind, fn.rows, fn.cols, rows, cols)
	return false
}

// hyperSums dispatches the sums of fn's products with the streams, and of their
// squares, and returns them with the arguments of what comes next.
func (o *ops) hyperSums(b *dsv4.Batch, fn *matrix, x array) (array, kernels.HyperInArgs) {
	t, width := len(b.Tokens), fn.cols
	h := kernels.HyperSumsFor(b.Decode)
	slices := (width + h.Columns - 1) / h.Columns
	sums := t * (fn.rows + 1) * slices
	part := o.scratch(&o.rooms.sums, sums)
	o.dispatch(h.Instance(fn.rows), fn.name+" sums", [3]int{slices, (t + h.Tokens - 1) / h.Tokens, 1}, kernels.HyperSumsThreads,
		4*int64((t+fn.rows)*width+sums), 2*int64(t*(fn.rows+1)*width),
		in(x, 0, t*width), weight(fn.codes), out(part, 0, sums),
		raw(&kernels.HyperSumsArgs{Width: uint32(width), Rows: uint32(fn.rows), Tokens: uint32(t), Slices: uint32(slices)}))
	return part, kernels.HyperInArgs{
		Width: uint32(o.c.HiddenSize), Slices: uint32(slices), Iterations: uint32(o.c.HCSinkhornIters),
		Eps: float32(o.c.HCEps), NormEps: float32(o.c.RMSNormEps),
	}
}

// control is scales and base of an mHC step on the device. They stand with fn from
// their first use on, and go with it.
func (o *ops) control(fn *matrix, scale, base []float32) host.Arg {
	if fn.control.len == 0 {
		var err error
		if fn.control, err = o.store(&fn.weights, kernels.SliceBytes(scale), kernels.SliceBytes(base)); err != nil {
			o.fail("%w", err)
		}
	}
	return weight(fn.control)
}

// hyperScratch is the bytes of the sums, for batches of t tokens.
func hyperScratch(c *dsv4.Config, t, _ int) int64 {
	n := c.HCMult
	var most int64
	for _, decode := range []bool{false, true} {
		h := kernels.HyperSumsFor(decode)
		slices := (n*c.HiddenSize + h.Columns - 1) / h.Columns
		if decode {
			t = 1
		}
		most = max(most, 4*int64(t)*int64((2+n)*n+1)*int64(slices))
	}
	return most
}
