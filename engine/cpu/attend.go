package cpu

import (
	"math"

	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
)

// queries norms and rotates each head.
func (o *ops) queries(b *dsv4.Batch, r *rope, qs floats) {
	heads, d := o.c.NumAttentionHeads, o.c.HeadDim
	o.positions(b, 16, func(_, from, to, pos int) {
		for t := from; t < to; t++ {
			for h := range heads {
				v := qs[(t*heads+h)*d:][:d]
				o.k.Norm(v, nil, v, float32(o.c.RMSNormEps))
				r.rotate(v, pos+t-from, false)
			}
		}
	})
}

// Latents norms the query's latent, and norms and rotates each key.
func (o *ops) Latents(b *dsv4.Batch, qNorm dsv4.Weight, qr dsv4.Array, kvNorm, r dsv4.Weight, kv dsv4.Array) {
	o.norm(b, qNorm.(vector), qr.(floats))
	ks, d := kv.(floats), o.c.HeadDim
	o.positions(b, 64, func(_, from, to, pos int) {
		for t := from; t < to; t++ {
			o.key(ks[t*d:][:d], kvNorm.(vector), r.(*rope), pos+t-from)
		}
	})
}

// key is what happens to a key, or a pooled entry, before it is cached.
func (o *ops) key(v []float32, norm vector, r *rope, pos int) {
	o.k.Norm(v, norm, v, float32(o.c.RMSNormEps))
	r.rotate(v, pos, false)
	if o.opt.KVSim {
		roundFP8(v[:len(v)-2*r.half])
	}
}

// Attend runs panels of queries and heads against the keys they see.
func (o *ops) Attend(b *dsv4.Batch, a *dsv4.Attention, q, kv, picks, out dsv4.Array) {
	o.queries(b, a.Rope.(*rope), q.(floats))
	at := attention{o: o, b: b, a: a, q: q.(floats), kv: kv.(floats), out: out.(floats)}
	if picks != nil {
		at.picks = picks.(ints)
	}
	if b.Decode {
		at.token(b.Spans[0])
		o.remember(b.Spans[0], at.kv)
		return
	}
	heads := o.c.NumAttentionHeads
	per := max(kernel.Panel/heads, 1) // queries of a panel
	for _, s := range b.Spans {
		groups := (s.Len + per - 1) / per
		o.pool.each(groups, func(worker, i int) {
			from := i * per
			at.group(worker, s, from, min(from+per, s.Len))
		})
		o.remember(s, at.kv)
	}
}

// remember moves a span's last keys into the window.
func (o *ops) remember(s dsv4.Span, kv []float32) {
	w, d := o.c.SlidingWindow, o.c.HeadDim
	ring := s.State.Window.(floats)
	for i := max(s.Len-w, 0); i < s.Len; i++ {
		copy(ring[(s.Pos+i)%w*d:][:d], kv[(s.From+i)*d:][:d])
	}
}

// attention is one call of Attend.
type attention struct {
	o          *ops
	b          *dsv4.Batch
	a          *dsv4.Attention
	q, kv, out []float32
	picks      []int32
}

// group attends from tokens from..to-1 of a span, all heads.
func (at *attention) group(worker int, s dsv4.Span, from, to int) {
	c := at.o.c
	heads, d := c.NumAttentionHeads, c.HeadDim
	lanes := min((to-from)*heads, kernel.Panel)
	k := kernel.Attend{Q: at.q, O: at.out, D: d, Scale: float32(1 / math.Sqrt(float64(d)))}
	at.bases(&k, s)
	at.keys(&k, s, from, to, min(heads, kernel.Panel))
	k.Room = at.o.scratch(worker, kernel.AttendRoom(d, len(k.ID)))
	sinks := at.a.Sinks.(vector)
	for first := 0; first < (to-from)*heads; first += lanes {
		k.Lane, k.Sinks = k.Lane[:0], k.Sinks[:0]
		for l := first; l < min(first+lanes, (to-from)*heads); l++ {
			k.Lane = append(k.Lane, int64(((s.From+from)*heads+l)*d))
			k.Sinks = append(k.Sinks, sinks[l%heads])
		}
		at.o.k.Attend(&k)
	}
	for t := from; t < to; t++ {
		for h := range heads {
			at.a.Rope.(*rope).rotate(at.out[((s.From+t)*heads+h)*d:][:d], s.Pos+t, true)
		}
	}
}

// tokenHeads is how many heads of one token are worth waking a thread for, and
// what the kernel works on at once.
const tokenHeads = 4

// token attends from a single token: every head sees every key.
func (at *attention) token(s dsv4.Span) {
	o, heads, d := at.o, at.o.c.NumAttentionHeads, at.o.c.HeadDim
	all := kernel.Attend{Q: at.q, O: at.out, D: d, Scale: float32(1 / math.Sqrt(float64(d))), ID: o.ids[:0]}
	at.bases(&all, s)
	first := max(s.Pos-o.c.SlidingWindow+1, 0)
	for p := first; p < s.Pos; p++ {
		all.ID = append(all.ID, uint32(p%o.c.SlidingWindow))
	}
	all.ID = append(all.ID, 1<<kernel.RowBits|uint32(s.From))
	if at.a.Ratio != 0 && at.picks == nil {
		for e := range (s.Pos + 1) / at.a.Ratio {
			all.ID = append(all.ID, 2<<kernel.RowBits|uint32(e))
		}
	} else if at.a.Ratio != 0 {
		for _, e := range at.picks[:o.c.IndexTopK] {
			if e >= 0 {
				all.ID = append(all.ID, 2<<kernel.RowBits|uint32(e))
			}
		}
	}
	o.ids, o.lanes = all.ID, o.lanes[:0]
	for h := range heads {
		o.lanes = append(o.lanes, int64(h*d))
	}
	pieces := min((heads+tokenHeads-1)/tokenHeads, 4*o.pool.n)
	o.pool.each(pieces, func(worker, i int) {
		from, to := heads*i/pieces, heads*(i+1)/pieces
		k := all
		k.Lane, k.Sinks = o.lanes[from:to], at.a.Sinks.(vector)[from:to]
		k.Room = o.scratch(worker, kernel.AttendRoom(d, len(k.ID)))
		o.k.AttendAll(&k)
		for h := from; h < to; h++ {
			at.a.Rope.(*rope).rotate(at.out[h*d:][:d], s.Pos, true)
		}
	})
}

// bases tells k where a span's keys lie.
func (at *attention) bases(k *kernel.Attend, s dsv4.Span) {
	k.Base[0], k.Base[1] = s.State.Window.(floats), at.kv
	if s.State.Main != nil {
		k.Base[2] = s.State.Main.Entries.(floats)
	}
}

// keys lists what the queries from..to-1 see, in order of position, window
// first. A query's lanes are the bits heads·i .. heads·i+heads-1.
func (at *attention) keys(k *kernel.Attend, s dsv4.Span, from, to, heads int) {
	w := at.o.c.SlidingWindow
	lanes := func(i int) uint32 { return uint32(1<<heads-1) << (heads * i) }
	first, last := s.Pos+from, s.Pos+to-1
	for p := max(first-w+1, 0); p <= last; p++ {
		id := uint32(p % w)
		if p >= s.Pos {
			id = 1<<kernel.RowBits | uint32(s.From+p-s.Pos)
		}
		var see uint32
		for t := max(p, first); t <= min(p+w-1, last); t++ {
			see |= lanes(t - first)
		}
		k.ID, k.See = append(k.ID, id), append(k.See, see)
	}
	if at.a.Ratio == 0 {
		return
	}
	entry := func(e int, see uint32) {
		k.ID, k.See = append(k.ID, 2<<kernel.RowBits|uint32(e)), append(k.See, see)
	}
	if at.picks == nil {
		for e := range (last + 1) / at.a.Ratio {
			var see uint32
			for t := max((e+1)*at.a.Ratio-1, first); t <= last; t++ {
				see |= lanes(t - first)
			}
			entry(e, see)
		}
		return
	}
	at.picked(s.From+from, to-from, lanes, entry)
}

// picked merges the ascending picks of n tokens.
func (at *attention) picked(token, n int, lanes func(int) uint32, entry func(int, uint32)) {
	topk := at.o.c.IndexTopK
	var next [kernel.Panel]int
	for {
		least := int32(math.MaxInt32)
		for i := range n {
			if next[i] < topk {
				if p := at.picks[(token+i)*topk+next[i]]; p >= 0 {
					least = min(least, p)
				}
			}
		}
		if least == math.MaxInt32 {
			return
		}
		var see uint32
		for i := range n {
			if next[i] < topk && at.picks[(token+i)*topk+next[i]] == least {
				see |= lanes(i)
				next[i]++
			}
		}
		entry(int(least), see)
	}
}
