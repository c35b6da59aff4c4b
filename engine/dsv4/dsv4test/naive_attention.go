package dsv4test

import (
	"math"

	"assay/engine/dsv4"
	"assay/engine/tensor"
)

// turnPairs rotates the pairs of v to a position, or back where sign is −1.
func (n *Naive) turnPairs(v []float64, r *rope, pos int, sign float64) {
	half := len(v) / 2
	for i := range half {
		p, q := 2*i, 2*i+1
		if n.Mistake == RopeHalfSplit {
			p, q = i, i+half
		}
		c, s := r.cos[pos][i], sign*r.sin[pos][i]
		v[p], v[q] = v[p]*c-v[q]*s, v[p]*s+v[q]*c
	}
}

// rotate turns v's rotary channels: the last ones, or by mistake the first.
func (n *Naive) rotate(v []float64, r dsv4.Weight, pos int, sign float64) {
	k := n.C.QKRopeHeadDim
	if n.Mistake == RopeOnFirst {
		n.turnPairs(v[:k], r.(*rope), pos, sign)
		return
	}
	n.turnPairs(v[len(v)-k:], r.(*rope), pos, sign)
}

// tokens calls f with each token's index and position.
func tokens(b *dsv4.Batch, f func(t, pos int)) {
	for _, s := range b.Spans {
		for i := range s.Len {
			f(s.From+i, s.Pos+i)
		}
	}
}

// queries norms and rotates each head.
func (n *Naive) queries(b *dsv4.Batch, r dsv4.Weight, q dsv4.Array) {
	d := n.C.HeadDim
	tokens(b, func(t, pos int) {
		for h := range n.C.NumAttentionHeads {
			v := q.(array)[(t*n.C.NumAttentionHeads+h)*d:][:d]
			if n.Mistake != NoHeadNorm {
				n.normed(v, nil)
			}
			n.rotate(v, r, pos, 1)
		}
	})
}

// Latents norms the query's latent, and norms and rotates each key.
func (n *Naive) Latents(b *dsv4.Batch, qNorm dsv4.Weight, qr dsv4.Array, kvNorm, r dsv4.Weight, kv dsv4.Array) {
	d, rank := n.C.HeadDim, n.C.QLoraRank
	tokens(b, func(t, pos int) {
		n.normed(qr.(array)[t*rank:][:rank], qNorm.(vector))
		n.key(kv.(array)[t*d:][:d], kvNorm.(vector), r, pos)
	})
}

func (n *Naive) key(v, norm []float64, r dsv4.Weight, pos int) {
	n.normed(v, norm)
	n.rotate(v, r, pos, 1)
	if n.Options.KVSim {
		RoundFP8(v[:len(v)-n.C.QKRopeHeadDim])
	}
}

// indexQueries rotates the indexer's heads.
func (n *Naive) indexQueries(b *dsv4.Batch, r dsv4.Weight, q dsv4.Array) {
	d := n.C.IndexHeadDim
	tokens(b, func(t, pos int) {
		for h := range n.C.IndexNHeads {
			v := q.(array)[(t*n.C.IndexNHeads+h)*d:][:d]
			n.rotate(v, r, pos, 1)
			n.indexRound(v)
		}
	})
}

func (n *Naive) indexRound(v []float64) {
	if n.Options.KVSim {
		Hadamard(v)
		RoundFP4(v)
	}
}

// Compress pools the blocks that close, row by row from the ring or the batch.
func (n *Naive) Compress(b *dsv4.Batch, c *dsv4.Compressor, pool func(*dsv4.LayerState) *dsv4.Pool, values, gates dsv4.Array) {
	bias := c.Bias.(vector)
	ch := len(bias) / c.Ratio
	for _, s := range b.Spans {
		p := pool(s.State)
		a, g := values.(array)[s.From*ch:], gates.(array)[s.From*ch:]
		for i := range s.Len * ch {
			g[i] += bias[(s.Pos+i/ch)%c.Ratio*ch+i%ch]
		}
		row := func(pos int) (v, w []float64) {
			if pos >= s.Pos {
				return a[(pos-s.Pos)*ch:][:ch], g[(pos-s.Pos)*ch:][:ch]
			}
			at := pos % p.Slots * ch
			return p.Values.(array)[at:][:ch], p.Gates.(array)[at:][:ch]
		}
		for e := s.Pos / c.Ratio; e < (s.Pos+s.Len)/c.Ratio; e++ {
			var v, w [][]float64
			for i := -c.Ratio; i < c.Ratio; i++ {
				pos := e*c.Ratio + i
				first := i < 0
				if first && (!c.Overlap || pos < 0 || n.Mistake == LosesPreviousBlock && pos < s.Pos) {
					continue
				}
				x, y := row(pos)
				if !first {
					x, y = x[ch-c.Width:], y[ch-c.Width:]
				}
				v, w = append(v, x), append(w, y)
			}
			out := p.Entries.(array)[e*c.Width:][:c.Width]
			pooled(out, v, w)
			n.entry(out, c, e)
		}
		for i := max(s.Len-p.Slots, 0); i < s.Len; i++ {
			at := (s.Pos + i) % p.Slots * ch
			copy(p.Values.(array)[at:][:ch], a[i*ch:])
			copy(p.Gates.(array)[at:][:ch], g[i*ch:])
		}
	}
}

func pooled(out []float64, v, w [][]float64) {
	for c := range out {
		top, sum, acc := math.Inf(-1), 0.0, 0.0
		for i := range w {
			top = math.Max(top, w[i][c])
		}
		for i := range w {
			e := math.Exp(w[i][c] - top)
			sum += e
			acc += e * v[i][c]
		}
		out[c] = acc / sum
	}
}

// entry norms and rotates a pooled entry to its block's first token.
func (n *Naive) entry(v []float64, c *dsv4.Compressor, e int) {
	pos := e * c.Ratio
	switch n.Mistake {
	case EntryAtLastToken:
		pos += c.Ratio - 1
	case EntryAtIndex:
		pos = e
	}
	if !c.Index {
		n.key(v, c.Norm.(vector), c.Rope, pos)
		return
	}
	n.normed(v, c.Norm.(vector))
	n.rotate(v, c.Rope, pos, 1)
	n.indexRound(v)
}

// visible returns how many blocks the token at pos sees.
func (n *Naive) visible(s dsv4.Span, pos, ratio int) int {
	switch n.Mistake {
	case BlocksLate:
		return pos / ratio
	case AllBlocks:
		return (s.Pos + s.Len) / ratio
	}
	return (pos + 1) / ratio
}

// Select picks the blocks of greatest score.
func (n *Naive) Select(b *dsv4.Batch, r dsv4.Weight, q, w, picks dsv4.Array) {
	n.indexQueries(b, r, q)
	H, d, k := n.C.IndexNHeads, n.C.IndexHeadDim, n.C.IndexTopK
	for _, s := range b.Spans {
		keys := s.State.Index.Entries.(array)
		for i := range s.Len {
			t := s.From + i
			scores := make([]float64, n.visible(s, s.Pos+i, dsv4.OverlapRatio))
			for e := range scores {
				for h := range H {
					var dot float64
					for c := range d {
						dot += q.(array)[(t*H+h)*d+c] * keys[e*d+c]
					}
					if n.Mistake != NoReLU {
						dot = math.Max(dot, 0)
					}
					scores[e] += w.(array)[t*H+h] * dot / math.Sqrt(float64(H*d))
				}
			}
			out := picks.(ints)[t*k:][:k]
			gap := largest(out, scores)
			n.Log.note(n.C, b, "indexer", t, out, gap)
		}
	}
}

// largest writes the indices of the len(out) greatest scores, ascending, then
// −1, ties to the lower index; it returns how far the least of them is above
// the greatest left out.
func largest(out []int32, scores []float64) (gap float64) {
	rank := func(i int) (r int) {
		for j, v := range scores {
			if v > scores[i] || v == scores[i] && j < i {
				r++
			}
		}
		return r
	}
	k, at := len(out), 0
	in, left := math.Inf(1), math.Inf(-1)
	for i, v := range scores {
		if rank(i) < k {
			out[at] = int32(i)
			at++
			in = math.Min(in, v)
		} else {
			left = math.Max(left, v)
		}
	}
	for ; at < k; at++ {
		out[at] = -1
	}
	return in - left
}

// Attend is the specification's 3.7 and 3.8.
func (n *Naive) Attend(b *dsv4.Batch, a *dsv4.Attention, q, kv, picks, o dsv4.Array) {
	n.queries(b, a.Rope, q)
	W, d, H := n.C.SlidingWindow, n.C.HeadDim, n.C.NumAttentionHeads
	for _, s := range b.Spans {
		ring := s.State.Window.(array)
		each(s.Len, func(i int) {
			pos, t := s.Pos+i, s.From+i
			var keys [][]float64
			from := pos - W + 1
			if n.Mistake == WindowTooWide {
				from--
			}
			for p := max(from, 0); p <= pos; p++ {
				if p >= s.Pos {
					keys = append(keys, kv.(array)[(s.From+p-s.Pos)*d:][:d])
				} else {
					keys = append(keys, ring[p%W*d:][:d])
				}
			}
			if a.Ratio != 0 {
				for e := range n.visible(s, pos, a.Ratio) {
					if n.picked(picks, t, e) {
						keys = append(keys, s.State.Main.Entries.(array)[e*d:][:d])
					}
				}
			}
			for h := range H {
				out := o.(array)[(t*H+h)*d:][:d]
				n.attend(out, q.(array)[(t*H+h)*d:][:d], keys, a.Sinks.(vector)[h])
				if n.Mistake != NoInverseRope {
					n.rotate(out, a.Rope, pos, -1)
				}
			}
		})
		for i := max(s.Len-W, 0); i < s.Len; i++ {
			copy(ring[(s.Pos+i)%W*d:][:d], kv.(array)[(s.From+i)*d:])
		}
	}
}

func (n *Naive) picked(picks dsv4.Array, t, e int) bool {
	if picks == nil || n.Mistake == IndexerSkipped {
		return true
	}
	for _, p := range picks.(ints)[t*n.C.IndexTopK:][:n.C.IndexTopK] {
		if int(p) == e {
			return true
		}
	}
	return false
}

func (n *Naive) attend(out, q []float64, keys [][]float64, sink float64) {
	scores := make([]float64, len(keys))
	top := sink
	for i, k := range keys {
		for c := range q {
			scores[i] += q[c] * k[c]
		}
		scores[i] /= math.Sqrt(float64(len(q)))
		top = math.Max(top, scores[i])
	}
	sum := math.Exp(sink - top)
	if n.Mistake == SinkIgnored {
		sum = 0
	}
	clear(out)
	for i, k := range keys {
		e := math.Exp(scores[i] - top)
		sum += e
		for c := range out {
			out[c] += e * k[c]
		}
	}
	for c := range out {
		out[c] /= sum
	}
}

// Hadamard is v·H/sqrt(len), H_ij = (−1)^popcount(i&j).
func Hadamard(v []float64) {
	old := append([]float64(nil), v...)
	for i := range v {
		v[i] = 0
		for j, x := range old {
			odd := false
			for b := i & j; b != 0; b &= b - 1 {
				odd = !odd
			}
			if odd {
				x = -x
			}
			v[i] += x
		}
		v[i] /= math.Sqrt(float64(len(v)))
	}
}

// RoundFP8 takes v through FP8 E4M3 in blocks of 64, as kv_sim does.
func RoundFP8(v []float64) { round(v, 64, 448, 1e-4, e4m3Values) }

// RoundFP4 takes v through FP4 E2M1 in blocks of 32, as kv_sim does.
func RoundFP4(v []float64) { round(v, 32, 6, 6*math.Ldexp(1, -126), e2m1Values) }

// round takes v through a small format in blocks, each with its own scale.
func round(v []float64, block int, most, floor float64, values []float64) {
	for ; len(v) > 0; v = v[block:] {
		s := powerScale(v[:block], most, floor)
		for i, x := range v[:block] {
			v[i] = math.Copysign(s*nearest(values, math.Min(math.Abs(x)/s, most)), x)
		}
	}
}

// powerScale is the power of two that brings v's maximum, at least floor, to
// most or below.
func powerScale(v []float64, most, floor float64) float64 {
	a := floor
	for _, x := range v {
		a = math.Max(a, math.Abs(x))
	}
	return math.Exp2(math.Ceil(math.Log2(float64(float32(a) * float32(1/float32(most))))))
}

// nearest returns the value closest to x; on a tie the one of even index, whose
// code is even.
func nearest(values []float64, x float64) float64 {
	best := 0
	for i, v := range values {
		d, e := math.Abs(v-x), math.Abs(values[best]-x)
		if d < e || d == e && i%2 == 0 {
			best = i
		}
	}
	return values[best]
}

var (
	e4m3Values = magnitudes(127, func(c byte) float32 { return tensor.E4M3ToFloat32(c) })
	e2m1Values = magnitudes(8, func(c byte) float32 { return tensor.E2M1ToFloat32(c) })
)

func magnitudes(n int, of func(byte) float32) (out []float64) {
	for c := range n {
		out = append(out, float64(of(byte(c))))
	}
	return out
}
