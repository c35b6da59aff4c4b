package cpu

import (
	"math"

	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
)

// Compress pools every block that closes within the batch.
func (o *ops) Compress(b *dsv4.Batch, c *dsv4.Compressor, pool func(*dsv4.LayerState) *dsv4.Pool, values, gates dsv4.Array) {
	vs, gs, bias := values.(floats), gates.(floats), c.Bias.(vector)
	ch := len(bias) / c.Ratio
	for _, s := range b.Spans {
		p := pool(s.State)
		o.pool.ranges(s.Len, 64, func(_, from, to int) {
			for t := from; t < to; t++ {
				row := gs[(s.From+t)*ch:][:ch]
				for i, v := range bias[(s.Pos+t)%c.Ratio*ch:][:ch] {
					row[i] += v
				}
			}
		})
		first := s.Pos / c.Ratio
		o.pool.each((s.Pos+s.Len)/c.Ratio-first, func(_, i int) { o.poolBlock(s, c, p, vs, gs, first+i) })
		rv, rg := p.Values.(floats), p.Gates.(floats)
		for t := max(s.Len-p.Slots, 0); t < s.Len; t++ {
			slot := (s.Pos + t) % p.Slots * ch
			copy(rv[slot:][:ch], vs[(s.From+t)*ch:][:ch])
			copy(rg[slot:][:ch], gs[(s.From+t)*ch:][:ch])
		}
	}
}

// poolBlock appends entry e. An overlapping block reads the previous block's
// rows through the first half of the channels and its own through the second.
func (o *ops) poolBlock(s dsv4.Span, c *dsv4.Compressor, p *dsv4.Pool, values, gates []float32, e int) {
	ch := c.Width
	if c.Overlap {
		ch = 2 * c.Width
	}
	rows := make([]int64, 0, 2*c.Ratio)
	add := func(block, half int) {
		for t := block * c.Ratio; t < (block+1)*c.Ratio; t++ {
			if t >= s.Pos {
				rows = append(rows, int64((s.From+t-s.Pos)*ch+half))
			} else {
				rows = append(rows, -1-int64(t%p.Slots*ch+half))
			}
		}
	}
	if c.Overlap && e > 0 {
		add(e-1, 0)
	}
	add(e, ch-c.Width)
	out := p.Entries.(floats)[e*c.Width:][:c.Width]
	o.k.Pool(values, gates, rows, p.Values.(floats), p.Gates.(floats), out)
	if !c.Index {
		o.key(out, c.Norm.(vector), c.Rope.(*rope), e*c.Ratio)
		return
	}
	o.k.Norm(out, c.Norm.(vector), out, float32(o.c.RMSNormEps))
	c.Rope.(*rope).rotate(out, e*c.Ratio, false)
	if o.opt.KVSim {
		hadamard(out)
		roundFP4(out)
	}
}

// indexQueries rotates the indexer's heads.
func (o *ops) indexQueries(b *dsv4.Batch, r *rope, qs floats) {
	heads, d := o.c.IndexNHeads, o.c.IndexHeadDim
	o.positions(b, 16, func(_, from, to, pos int) {
		for t := from; t < to; t++ {
			for h := range heads {
				v := qs[(t*heads+h)*d:][:d]
				r.rotate(v, pos+t-from, false)
				if o.opt.KVSim {
					hadamard(v)
					roundFP4(v)
				}
			}
		}
	})
}

// selectTokens is how many tokens score their blocks together.
const selectTokens = 32

// Select picks each token's blocks.
func (o *ops) Select(b *dsv4.Batch, r dsv4.Weight, q, w, picks dsv4.Array) {
	o.indexQueries(b, r.(*rope), q.(floats))
	qs, ws, ps := q.(floats), w.(floats), picks.(ints)
	heads, d, topk := o.c.IndexNHeads, o.c.IndexHeadDim, o.c.IndexTopK
	const ratio = dsv4.OverlapRatio
	scale := float32(1 / math.Sqrt(float64(heads*d)))
	if b.Decode {
		o.selectOne(b.Spans[0], qs, ws, scale, ps[:topk])
		return
	}
	for _, s := range b.Spans {
		keys := s.State.Index.Entries.(floats)
		o.pool.each((s.Len+selectTokens-1)/selectTokens, func(worker, i int) {
			from := i * selectTokens
			to := min(from+selectTokens, s.Len)
			n := (s.Pos + to) / ratio // visible to the last of them
			m := to - from
			room := o.scratch(worker, m*heads+2*m*n+n+kernel.IndexRoom(d))
			weights, scores, order := room[:m*heads], room[m*heads:][:m*n], room[m*heads+m*n:][:n]
			for j, v := range ws[(s.From+from)*heads:][:m*heads] {
				weights[j] = v * scale
			}
			if n > topk {
				o.k.IndexScores(qs[(s.From+from)*heads*d:], weights, m, heads, d, keys, n, scores, room[m*heads+2*m*n+n:])
			}
			for t := range m {
				visible := (s.Pos + from + t + 1) / ratio
				topBlocks(ps[(s.From+from+t)*topk:][:topk], scores[t*n:][:visible], order)
			}
		})
	}
}

// selectOne picks the blocks of a decoded token.
func (o *ops) selectOne(s dsv4.Span, q, w []float32, scale float32, picks []int32) {
	heads, d, n := o.c.IndexNHeads, o.c.IndexHeadDim, (s.Pos+1)/dsv4.OverlapRatio
	room := grow(&o.shared, heads+2*n)
	weights, scores, order := room[:heads], room[heads:][:n], room[heads+n:]
	if n > len(picks) {
		for i, v := range w[:heads] {
			weights[i] = v * scale
		}
		keys := s.State.Index.Entries.(floats)
		o.pool.ranges(n, selectBlocks, func(_, from, to int) {
			o.k.IndexOne(q, weights, heads, d, keys[from*d:], to-from, scores[from:to])
		})
	}
	topBlocks(picks, scores, order)
}

// selectBlocks is how many blocks of a decoded token are worth waking a thread for.
const selectBlocks = 512

// topBlocks writes to picks the indices of the len(picks) largest scores, ties
// to the lower index, in ascending order, then −1. A NaN ranks first, so that
// what made it shows; scores holds +Inf for it afterwards. room is as long as
// scores.
func topBlocks(picks []int32, scores, room []float32) {
	k := len(picks)
	if len(scores) <= k {
		for i := range picks {
			picks[i] = -1
			if i < len(scores) {
				picks[i] = int32(i)
			}
		}
		return
	}
	for i, v := range scores {
		if v != v {
			scores[i] = float32(math.Inf(1))
		}
	}
	least := kthLargest(append(room[:0], scores...), k)
	above := 0
	for _, v := range scores {
		if v > least {
			above++
		}
	}
	ties, n := k-above, 0
	for i, v := range scores {
		if v > least || v == least && ties > 0 {
			if v == least {
				ties--
			}
			picks[n] = int32(i)
			n++
		}
	}
}

// kthLargest returns the k-th largest of v, which it reorders. k is 1..len(v),
// and no element is a NaN.
func kthLargest(v []float32, k int) float32 {
	lo, hi := 0, len(v)-1
	for lo < hi {
		p := v[(lo+hi)/2]
		i, j := lo, hi
		for i <= j {
			for v[i] > p {
				i++
			}
			for p > v[j] {
				j--
			}
			if i <= j {
				v[i], v[j] = v[j], v[i]
				i++
				j--
			}
		}
		switch {
		case k-1 <= j:
			hi = j
		case k-1 >= i:
			lo = i
		default:
			return v[k-1]
		}
	}
	return v[k-1]
}
