package metal

import (
	"math"

	"assay/engine/dsv4"
	"assay/metal/host"
	"assay/metal/kernels"
)

// cached binds n cached elements of a from one on: keys and pooled entries are
// stored in the activations' type.
func (o *ops) cached(a array, from, n int, access host.Access) host.Arg {
	if n == 0 {
		return idle(a)
	}
	at := a.at + o.cachedBytes()*int64(from)
	return host.Arg{Buffer: a.buf, At: at, Uses: []host.Use{{At: at, Len: o.cachedBytes() * int64(n), Access: access}}}
}

// idle binds what a kernel does not look at.
func idle(a array) host.Arg { return host.Arg{Buffer: a.buf, At: a.at} }

// cachedType and cachedBytes are the type of cached elements, and its size.
func (o *ops) cachedType() string { return activationTypes[o.opt.Activations] }

func (o *ops) cachedBytes() int64 {
	if o.opt.Activations == "f32" {
		return 4
	}
	return 2
}

// attention is one call of Attend.
type attention struct {
	a     *dsv4.Attention
	q, kv array
	picks array // of no buffer where every visible entry is seen
	out   array
}

// Attend runs one decoded token's keys in chunks, and many tokens each on its own.
func (o *ops) Attend(b *dsv4.Batch, a *dsv4.Attention, q, kv, picks, out dsv4.Array) {
	at := attention{a: a, q: q.(array), kv: kv.(array), out: out.(array)}
	if picks != nil {
		at.picks = picks.(array)
	}
	for _, s := range b.Spans {
		if b.Decode {
			o.attendOne(&at, s)
		} else {
			o.attendRows(&at, s)
		}
	}
}

// seen returns the keys that the query at a position sees: of the window, and
// pooled entries.
func (o *ops) seen(at *attention, pos int) (near, far int) {
	near = min(pos+1, o.c.SlidingWindow)
	if at.a.Ratio != 0 {
		far = (pos + 1) / at.a.Ratio
	}
	if at.picks.buf != nil {
		far = min(far, o.c.IndexTopK)
	}
	return near, far
}

// attendArgs are what both ways have in common.
func (o *ops) attendArgs(at *attention, s dsv4.Span) kernels.AttendArgs {
	args := kernels.AttendArgs{
		Heads: uint32(o.c.NumAttentionHeads), Window: uint32(o.c.SlidingWindow), HalfRope: uint32(o.c.QKRopeHeadDim / 2),
		First: uint32(s.Pos), Ratio: uint32(at.a.Ratio),
		Scale: float32(1 / math.Sqrt(float64(o.c.HeadDim))), NormEps: float32(o.c.RMSNormEps),
	}
	if at.picks.buf != nil {
		args.Topk = uint32(o.c.IndexTopK)
	}
	return args
}

// attendInputs binds queries, the batch's keys, the ring, entries and picks of a span.
func (o *ops) attendInputs(at *attention, s dsv4.Span, decode bool) []host.Arg {
	heads, d, k := o.c.NumAttentionHeads, o.c.HeadDim, o.c.IndexTopK
	ring := s.State.Window.(array)
	args := []host.Arg{in(at.q, s.From*heads*d, s.Len*heads*d), in(at.kv, s.From*d, s.Len*d), idle(ring), idle(ring), idle(ring)}
	if s.Pos > 0 || decode { // attend_chunks loads a row for the key that the ring has not yet
		args[2] = o.cached(ring, 0, o.c.SlidingWindow*d, host.Read)
	}
	if at.a.Ratio != 0 {
		args[3] = o.cached(s.State.Main.Entries.(array), 0, (s.Pos+s.Len)/at.a.Ratio*d, host.Read)
	}
	if at.picks.buf != nil {
		args[4] = in(at.picks, s.From*k, s.Len*k)
	}
	return args
}

// attendOne attends from a decoded token and stores its key.
func (o *ops) attendOne(at *attention, s dsv4.Span) {
	heads, d := o.c.NumAttentionHeads, o.c.HeadDim
	near, far := o.seen(at, s.Pos)
	args := o.attendArgs(at, s)
	per, chunks := kernels.Chunks(near + far)
	args.Per, args.Chunks = uint32(per), uint32(chunks)
	part := o.scratch(&o.rooms.chunks, kernels.MaxChunks*heads*d)
	stats := o.scratch(&o.rooms.stats, kernels.MaxChunks*heads*2)
	turns := at.a.Rope.(*rope)
	work := 4 * int64(near+far) * int64(heads*d)
	o.dispatch(kernels.AttendChunks(o.cachedType(), d), "attend chunks", [3]int{chunks, (heads + 7) / 8, 1}, kernels.ChunkThreads,
		o.cachedBytes()*int64(near+far)*int64(d)+4*int64(chunks*heads*d), work,
		append(o.attendInputs(at, s, true), in(turns.cos, 0, turns.cos.n), in(turns.sin, 0, turns.sin.n),
			out(part, 0, chunks*heads*d), out(stats, 0, chunks*heads*2), raw(&args))...)
	ring := s.State.Window.(array)
	o.dispatch(kernels.AttendCombine(o.cachedType(), d), "attend combine", [3]int{heads, 1, 1}, kernels.CombineThreads,
		4*int64((chunks+1)*heads*d), 2*int64(chunks*heads*d),
		in(part, 0, chunks*heads*d), in(stats, 0, chunks*heads*2), in(at.a.Sinks.(*vector).array, 0, heads), in(at.kv, s.From*d, d),
		in(turns.cos, 0, turns.cos.n), in(turns.sin, 0, turns.sin.n), out(at.out, s.From*heads*d, heads*d),
		o.cached(ring, s.Pos%o.c.SlidingWindow*d, d, host.Write), raw(&args))
}

// attendRows attends from each token of a span, then keeps the last keys.
func (o *ops) attendRows(at *attention, s dsv4.Span) {
	heads, d := o.c.NumAttentionHeads, o.c.HeadDim
	args := o.attendArgs(at, s)
	run := kernels.AttendRowsFor(heads, d)
	turns := at.a.Rope.(*rope)
	var keys int64
	for t := range s.Len {
		near, far := o.seen(at, s.Pos+t)
		keys += int64(near + far)
	}
	groups := run.Groups(heads)
	o.dispatch(run.Instance(o.cachedType(), d), "attend rows", [3]int{groups, s.Len, 1}, run.Threads(),
		o.cachedBytes()*keys*int64(d*groups)+8*int64(s.Len*heads*d), 4*keys*int64(heads*d),
		append(o.attendInputs(at, s, false), in(at.a.Sinks.(*vector).array, 0, heads), in(turns.cos, 0, turns.cos.n), in(turns.sin, 0, turns.sin.n),
			out(at.out, s.From*heads*d, s.Len*heads*d), raw(&args))...)

	w, ring := o.c.SlidingWindow, s.State.Window.(array)
	from := max(s.Len-w, 0)
	o.dispatch(kernels.AttendKeep(o.cachedType()), "attend keep", [3]int{(d + kernels.KeepThreads - 1) / kernels.KeepThreads, s.Len - from, 1},
		kernels.KeepThreads, (4+o.cachedBytes())*int64((s.Len-from)*d), 0,
		in(at.kv, s.From*d, s.Len*d), o.cached(ring, 0, w*d, host.Write),
		raw(&kernels.KeepArgs{Dim: uint32(d), Window: uint32(w), First: uint32(s.Pos), From: uint32(from)}))
}

// attendScratch is the bytes of a decoded token's chunks.
func attendScratch(c *dsv4.Config, _, _ int) int64 {
	return 4 * kernels.MaxChunks * int64(c.NumAttentionHeads) * int64(c.HeadDim+2)
}
