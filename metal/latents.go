package metal

import (
	"assay/engine/dsv4"
	"assay/metal/kernels"
)

// Latents norms the query's latent, and norms, rotates and rounds the keys.
func (o *ops) Latents(b *dsv4.Batch, qNorm dsv4.Weight, qr dsv4.Array, kvNorm, r dsv4.Weight, kv dsv4.Array) {
	q, k, turns := qNorm.(*vector).array, kvNorm.(*vector).array, r.(*rope)
	for _, s := range b.Spans {
		o.dispatch(kernels.Latents(o.opt.Model.KVSim), "latents", [3]int{s.Len, 2, 1}, kernels.LatentsThreads,
			8*int64(s.Len*(q.n+k.n)), 5*int64(s.Len*(q.n+k.n)),
			both(qr.(array), s.From*q.n, s.Len*q.n), in(q, 0, q.n), both(kv.(array), s.From*k.n, s.Len*k.n), in(k, 0, k.n),
			in(turns.cos, 0, turns.cos.n), in(turns.sin, 0, turns.sin.n), raw(&kernels.LatentsArgs{
				Rank: uint32(q.n), Dim: uint32(k.n), HalfRope: uint32(turns.half), First: uint32(s.Pos), NormEps: float32(o.c.RMSNormEps),
			}))
	}
}
