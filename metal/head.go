package metal

import (
	"assay/engine/dsv4"
	"assay/metal/kernels"
)

// headRooms is what LogProbs keeps on the device.
type headRooms struct{ hidden, logits, parts array }

// headTokens is how many positions have their logits on the device at once.
const headTokens = 256

// headBytes is the scratch of the output projection.
func headBytes(c *dsv4.Config, _, _ int) int64 {
	return 4 * headTokens * int64(c.HiddenSize+c.VocabSize+2*ceil(c.VocabSize, kernels.LogChunk))
}

// LogProbs computes log-probabilities block by block. The head is multiplied in
// float32 whatever the activations are.
func (o *ops) LogProbs(head dsv4.Weight, hidden, dst []float32, decode bool) error {
	m := head.(*matrix)
	most := min(headTokens, max(int(o.dev.Info().Limits.MaxBuffer/4/int64(m.rows)), 1))
	for n := len(dst) / m.rows; n > 0; n = len(dst) / m.rows {
		n = min(n, most)
		if err := o.logProbs(m, hidden[:n*m.cols], dst[:n*m.rows], decode); err != nil {
			return err
		}
		hidden, dst = hidden[n*m.cols:], dst[n*m.rows:]
	}
	return nil
}

// logProbs is one block.
func (o *ops) logProbs(m *matrix, hidden, dst []float32, decode bool) error {
	n, r := len(dst)/m.rows, &o.headRooms
	chunks := ceil(m.rows, kernels.LogChunk)
	x, y, parts := o.scratch(&r.hidden, n*m.cols), o.scratch(&r.logits, n*m.rows), o.scratch(&r.parts, n*chunks*2)
	if err := o.wait(); err != nil { // the last block may still be read
		return err
	}
	if err := x.buf.Write(x.at, kernels.SliceBytes(hidden)); err != nil {
		return err
	}
	if decode {
		o.matvec(m, 1, x, y, "float")
	} else {
		o.product(m, 1, run{n: n}, x, y, "float")
	}
	p := kernels.LogProbsArgs{Vocab: uint32(m.rows), Chunks: uint32(chunks)}
	grid, bytes := [3]int{chunks, n, 1}, 4*int64(n)*int64(m.rows)
	o.dispatch(kernels.LogSum(), "log-probabilities", grid, kernels.LogThreads, bytes, bytes,
		in(y, 0, n*m.rows), out(parts, 0, n*chunks*2), raw(&p))
	o.dispatch(kernels.LogProbs(), "log-probabilities", grid, kernels.LogThreads, 2*bytes, bytes,
		both(y, 0, n*m.rows), in(parts, 0, n*chunks*2), raw(&p))
	return o.Read(dst, y, 0)
}
