package metal

import (
	"math"

	"assay/engine/dsv4"
	"assay/metal/host"
	"assay/metal/kernels"
)

// scoreFloats is about how many scores are kept at once: the tokens that are
// scored together are as many as make that many.
const scoreFloats = 8 << 20

// Select scores the blocks of tokens that see more than they may pick, and picks.
func (o *ops) Select(b *dsv4.Batch, r dsv4.Weight, q, w, picks dsv4.Array) {
	const ratio = dsv4.OverlapRatio
	for _, s := range b.Spans {
		most := max((s.Pos+s.Len)/ratio, 1)
		step := scoreRows(most)
		for from := 0; from < s.Len; from += step {
			n := min(step, s.Len-from)
			part := dsv4.Span{From: s.From + from, Len: n, Pos: s.Pos + from, State: s.State}
			o.selectSpan(b.Decode, part, r.(*rope), q.(array), w.(array), picks.(array))
		}
	}
}

// scoreRows is how many tokens are scored together at up to n blocks each.
func scoreRows(n int) int { return max(scoreFloats/n, 1) }

func (o *ops) selectSpan(decode bool, s dsv4.Span, turns *rope, q, w, picks array) {
	const ratio = dsv4.OverlapRatio
	heads, d, k := o.c.IndexNHeads, o.c.IndexHeadDim, o.c.IndexTopK
	blocks := (s.Pos + s.Len) / ratio // visible to the last token
	scores := idle(picks)
	if blocks > k {
		const round = 1 << 14 // so that a growing sequence does not want new memory each time
		room := o.scratch(&o.rooms.scores, (s.Len*blocks+round-1)/round*round)
		scores = in(room, 0, s.Len*blocks)
		kernel, threads := kernels.SelectScores(o.cachedType(), heads, d, o.opt.Model.KVSim)
		o.dispatch(kernel, "index scores", [3]int{(blocks + kernels.ScoreBlocks - 1) / kernels.ScoreBlocks, s.Len, 1}, threads,
			o.cachedBytes()*int64(s.Len)*int64(blocks*d)+4*int64(s.Len*heads*d), 2*int64(s.Len)*int64(blocks*heads*d),
			in(q, s.From*heads*d, s.Len*heads*d), in(w, s.From*heads, s.Len*heads),
			o.cached(s.State.Index.Entries.(array), 0, blocks*d, host.Read),
			in(turns.cos, 0, turns.cos.n), in(turns.sin, 0, turns.sin.n), out(room, 0, s.Len*blocks), raw(&kernels.ScoreArgs{
				Heads: uint32(heads), HalfRope: uint32(turns.half), First: uint32(s.Pos), Ratio: ratio, Topk: uint32(k), Stride: uint32(blocks),
				Scale: float32(1 / math.Sqrt(float64(heads*d))), Hadamard: float32(1 / math.Sqrt(float64(d))),
			}))
	}
	kernel, threads := kernels.SelectTop(decode)
	o.dispatch(kernel, "index top", [3]int{s.Len, 1, 1}, threads, 4*int64(s.Len)*int64(6*blocks+k), 0,
		scores, out(picks, s.From*k, s.Len*k), raw(&kernels.TopArgs{First: uint32(s.Pos), Ratio: ratio, Topk: uint32(k), Stride: uint32(blocks)}))
}

// selectScratch is the bytes of scores, for batches of t tokens of sequences of up
// to longest.
func selectScratch(c *dsv4.Config, t, longest int) int64 {
	n := longest / dsv4.OverlapRatio
	if n <= c.IndexTopK {
		return 0
	}
	return 4*int64(min(scoreRows(n), t))*int64(n) + 4<<14
}
