package metal

import (
	"math"

	"assay/engine/dsv4"
	"assay/metal/host"
	"assay/metal/kernels"
)

// Compress pools every block that closes within the batch, then keeps the last rows.
func (o *ops) Compress(b *dsv4.Batch, c *dsv4.Compressor, pool func(*dsv4.LayerState) *dsv4.Pool, values, gates dsv4.Array) {
	for _, s := range b.Spans {
		p := pool(s.State)
		if n := (s.Pos+s.Len)/c.Ratio - s.Pos/c.Ratio; n > 0 {
			o.pool(s, c, p, values.(array), gates.(array), n)
		}
		o.keepRows(s, c, p, values.(array), gates.(array))
	}
}

// pool makes the entries of n blocks that close in a span.
func (o *ops) pool(s dsv4.Span, c *dsv4.Compressor, p *dsv4.Pool, values, gates array, n int) {
	bias, norm, turns := c.Bias.(*vector).array, c.Norm.(*vector).array, c.Rope.(*rope)
	ch := bias.n / c.Ratio
	args := kernels.PoolArgs{
		Ratio: uint32(c.Ratio), Slots: uint32(p.Slots), First: uint32(s.Pos), FirstBlock: uint32(s.Pos / c.Ratio),
		HalfRope: uint32(turns.half), NormEps: float32(o.c.RMSNormEps), Hadamard: float32(1 / math.Sqrt(float64(c.Width))),
	}
	rows := c.Ratio
	if c.Overlap {
		args.Overlap, rows = 1, 2*c.Ratio
	}
	round := kernels.NoRounding
	switch {
	case o.opt.Model.KVSim && c.Index:
		round = kernels.RoundFP4
	case o.opt.Model.KVSim:
		round = kernels.RoundFP8
	}
	rv, rg := p.Values.(array), p.Gates.(array)
	ringValues, ringGates := idle(rv), idle(rg)
	if s.Pos > 0 {
		ringValues, ringGates = in(rv, 0, p.Slots*ch), in(rg, 0, p.Slots*ch)
	}
	entries := fromStart(p.Entries.(array), o.cached(p.Entries.(array), s.Pos/c.Ratio*c.Width, n*c.Width, host.Write))
	k, threads := kernels.Pool(o.cachedType(), c.Width, round)
	o.dispatch(k, "compress pool", [3]int{n, 1, 1}, threads,
		12*int64(n*rows*c.Width), 8*int64(n*rows*c.Width),
		in(values, s.From*ch, s.Len*ch), in(gates, s.From*ch, s.Len*ch), ringValues, ringGates, in(bias, 0, bias.n), in(norm, 0, norm.n),
		in(turns.cos, 0, turns.cos.n), in(turns.sin, 0, turns.sin.n),
		entries, raw(&args))
}

// fromStart points an argument that uses a part of an array at its start.
func fromStart(a array, arg host.Arg) host.Arg {
	arg.At = a.at
	return arg
}

// keepRows moves a span's last rows into the rings.
func (o *ops) keepRows(s dsv4.Span, c *dsv4.Compressor, p *dsv4.Pool, values, gates array) {
	bias := c.Bias.(*vector).array
	ch := bias.n / c.Ratio
	from := max(s.Len-p.Slots, 0)
	rows := s.Len - from
	at, n := 0, p.Slots // slots that change
	if rows == 1 {
		at, n = (s.Pos+from)%p.Slots, 1
	}
	args := kernels.StoreArgs{Channels: uint32(ch), Ratio: uint32(c.Ratio), Slots: uint32(p.Slots), First: uint32(s.Pos), From: uint32(from)}
	ring := func(a dsv4.Array) host.Arg { return fromStart(a.(array), out(a.(array), at*ch, n*ch)) }
	o.dispatch(kernels.Store(), "compress store", [3]int{(ch + kernels.StoreThreads - 1) / kernels.StoreThreads, rows, 1}, kernels.StoreThreads,
		20*int64(rows*ch), int64(rows*ch),
		in(values, s.From*ch, s.Len*ch), in(gates, s.From*ch, s.Len*ch), in(bias, 0, bias.n),
		ring(p.Values), ring(p.Gates), raw(&args))
}
