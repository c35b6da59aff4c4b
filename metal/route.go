package metal

import (
	"assay/engine/dsv4"
	"assay/metal/kernels"
)

// Route multiplies with the router's matrix and picks.
func (o *ops) Route(b *dsv4.Batch, r *dsv4.Router, u, picks, weights dsv4.Array) {
	t, n, k := len(b.Tokens), o.c.NRoutedExperts, o.c.NumExpertsPerTok
	logits := o.scratch(&o.rooms.logits, t*n)
	o.Linear(b, u, dsv4.Product{W: r.Gate, Y: logits})
	bias, rows, ids := idle(logits), idle(logits), idle(logits)
	if r.Table != nil {
		all := r.Table.(*table).array
		rows, ids = in(all, 0, all.n), in(o.tokens(b), 0, t)
	} else {
		bias = in(r.Bias.(*vector).array, 0, n)
	}
	const each = kernels.RouteTokens
	o.dispatch(kernels.Route(n, r.Table != nil), "route", [3]int{(t + each - 1) / each, 1, 1}, kernels.RouteThreads,
		4*int64(t*n), 30*int64(t*n),
		in(logits, 0, t*n), bias, rows, ids, out(picks.(array), 0, t*k), both(weights.(array), 0, t*k), raw(&kernels.RouteArgs{
			Tokens: uint32(t), Experts: uint32(n), Picks: uint32(k), Factor: float32(o.c.RoutedScalingFactor),
		}))
}

// routeScratch is the bytes of logits, for batches of t tokens.
func routeScratch(c *dsv4.Config, t, _ int) int64 { return 4 * int64(t) * int64(c.NRoutedExperts) }
