package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
)

// lengths are around the 16 lanes and the 64 of an unrolled loop.
var lengths = []int{1, 2, 15, 16, 17, 31, 63, 64, 65, 100, 256, 257}

// TestNorm: Σx² is n·u off, its mean with eps 2u more, the root halves that and
// adds u, the reciprocal u, and the products 2u.
func TestNorm(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 1))
	for _, k := range twins(t) {
		for _, n := range lengths {
			x, w := noise(rng, n), noise(rng, n)
			squares, _ := dot64(x, x)
			what := fmt.Sprintf("%s, norm of %d", k.Name(), n)
			within(t, what+", squares", k.SumSquares(x), squares, float64(n)*u*squares)

			const eps = 1e-3
			r := 1 / math.Sqrt(squares/float64(n)+float64(float32(eps)))
			y, inPlace := poison(n), slices.Clone(x)
			k.Norm(x, w, y, eps)
			k.Norm(inPlace, nil, inPlace, eps)
			for i, v := range x {
				one := float64(v) * r
				bound := (float64(n+2)/2 + 4) * u
				within(t, what, y[i], one*float64(w[i]), bound*math.Abs(one*float64(w[i])))
				within(t, what+" in place", inPlace[i], one, bound*math.Abs(one))
			}
		}
	}
}

// TestMix and TestRemix: sums of m products, and of m products and one more.
func TestMix(t *testing.T) {
	rng := rand.New(rand.NewPCG(22, 1))
	for _, k := range twins(t) {
		for _, n := range lengths {
			for _, m := range []int{1, 2, 4, 7, maxStreams} {
				a, x, y := noise(rng, m), noise(rng, m*n), poison(n)
				k.Mix(a, x, y)
				for c := range n {
					want, size := dot64(a, column(x, n, c))
					within(t, fmt.Sprintf("%s, mix of %d streams of %d, channel %d", k.Name(), m, n, c), y[c], want, float64(m)*u*size)
				}
			}
		}
	}
}

// column returns channel c of rows of n.
func column(x []float32, n, c int) (out []float32) {
	for i := c; i < len(x); i += n {
		out = append(out, x[i])
	}
	return out
}

func TestRemix(t *testing.T) {
	rng := rand.New(rand.NewPCG(23, 1))
	for _, k := range twins(t) {
		for _, n := range lengths {
			for _, m := range []int{1, 2, 4, 7, maxStreams} {
				post, comb, y, x := noise(rng, m), noise(rng, m*m), noise(rng, n), noise(rng, m*n)
				old := slices.Clone(x)
				k.Remix(post, comb, y, x)
				for c := range n {
					for to := range m { // x'_k = post_k·y + Σ_j comb_jk·x_j
						want, size := dot64(append(column(comb, m, to), post[to]), append(column(old, n, c), y[c]))
						within(t, fmt.Sprintf("%s, remix of %d streams of %d, [%d][%d]", k.Name(), m, n, to, c), x[to*n+c], want, float64(m+1)*u*size)
					}
				}
			}
		}
	}
}

// TestSwiGLU: e^−x is expError off, 1 + e^−x at most u more, then a quotient and
// three products. Where e^−x overflows, 2^-128 stands for what is less.
func TestSwiGLU(t *testing.T) {
	rng := rand.New(rand.NewPCG(24, 1))
	for _, k := range twins(t) {
		for _, n := range lengths {
			g, up := noise(rng, n), noise(rng, n)
			for i := range g {
				g[i] *= []float32{1, 10, 60}[i%3]
				up[i] *= []float32{1, 10}[i%2]
			}
			const limit, weight = 10, 1.3
			out := slices.Clone(g)
			k.SwiGLU(out, up, limit, weight)
			for i, x := range g {
				v, y := min(float64(x), limit), min(max(float64(up[i]), -limit), limit)
				want := v / (1 + math.Exp(-v)) * y * float64(float32(weight))
				within(t, fmt.Sprintf("%s, %d of %d, silu(%g)·%g", k.Name(), i, n, x, up[i]), out[i], want, (expError+5*u)*math.Abs(want)+0x1p-128*math.Abs(v*y*weight))
			}
		}
	}
}

// TestLogSoftmax: each e^(x−top) is u·|x−top| + expError off, so ln Σ is their
// mean off; it is rounded once, and so is the difference.
func TestLogSoftmax(t *testing.T) {
	rng := rand.New(rand.NewPCG(25, 1))
	for _, k := range twins(t) {
		for _, n := range append([]int{6144, 6151}, lengths...) {
			x := noise(rng, n)
			for i := range x {
				x[i] *= 5
			}
			var sum, far float64
			top := float64(slices.Max(x))
			for _, v := range x {
				sum += math.Exp(float64(v) - top)
				far += math.Exp(float64(v)-top) * (top - float64(v))
			}
			lse := top + math.Log(sum)
			got := slices.Clone(x)
			k.LogSoftmax(got)
			var total float64
			for i, v := range x {
				want := float64(v) - lse
				within(t, fmt.Sprintf("%s, log p %d of %d", k.Name(), i, n), got[i], want, u*far/sum+expError+u*(math.Abs(lse)+math.Abs(want)))
				total += math.Exp(float64(got[i]))
			}
			within(t, fmt.Sprintf("%s, Σp of %d", k.Name(), n), float32(total), 1, u*far/sum+expError+u*(2*math.Abs(lse)+30)+u)
		}
	}
}

// TestSinkhorn holds the mHC control against float64. A mix m·ρ·s + b is off by
// 3u of its terms' size z, so σ by (3z + 4)·u and expError, and post is twice σ.
//
// Dividing rows and columns leaves every cross ratio C_jk·C_il / (C_jl·C_ik) as
// it was, but for the rounding of four products each time, and the matrix with
// row and column sums of 1 is determined by them. So after 20 iterations an
// element (at most 1) is off by what the cross ratios are: four softmax entries
// of expError + (6z + 2)·u each, and 4·39 roundings; and by a last division of
// m + 2 roundings.
func TestSinkhorn(t *testing.T) {
	rng := rand.New(rand.NewPCG(26, 1))
	const m, iters, eps = 4, 20, 1e-6
	for _, k := range twins(t) {
		for _, tokens := range []int{1, 2, 15, 16, 17, 40} {
			mixes, rho, base, scale := noise(rng, (2+m)*m*tokens), noise(rng, tokens), noise(rng, (2+m)*m), [3]float32{0.5, 1, 2}
			pre, out := poison(m*tokens), poison((m+m*m)*tokens)
			k.Sinkhorn(mixes, rho, base, scale, m, iters, eps, pre, out)
			for i := range tokens {
				var z [3]float64
				at := func(j, s int) float64 {
					p := float64(mixes[i*(2+m)*m+j]) * float64(rho[i]) * float64(scale[s])
					z[s] = max(z[s], math.Abs(p)+math.Abs(float64(base[j])))
					return p + float64(base[j])
				}
				what := fmt.Sprintf("%s, token %d of %d", k.Name(), i, tokens)
				comb := make([]float64, m*m)
				for j := range m * m {
					comb[j] = at(2*m+j, 2)
				}
				dsv4test.Sinkhorn(comb, m, iters, eps)
				for j := range m {
					one, two := at(j, 0), at(m+j, 1)
					within(t, what+", pre", pre[i*m+j], 1/(1+math.Exp(-one))+float64(float32(eps)), expError+(3*z[0]+4)*u)
					within(t, what+", post", out[i*(m+m*m)+j], 2/(1+math.Exp(-two)), 2*(expError+(3*z[1]+4)*u))
				}
				for j, want := range comb {
					within(t, what+", comb", out[i*(m+m*m)+m+j], want, 4*(expError+(6*z[2]+2)*u)+(4*39+m+2)*u)
				}
			}
		}
	}
}

// TestHyperExample holds the mHC step against the specification's 3.2, with
// every kernel set, through both matrix products.
func TestHyperExample(t *testing.T) {
	for _, set := range sets(t) {
		for _, iters := range dsv4test.HyperIterations {
			e := dsv4test.NewHyperExample(iters)
			o := newOps(newBackend(t, Options{Kernels: set}), e.C)
			fn, err := load(e.Fn)
			if err != nil {
				t.Fatal(err)
			}
			h := &dsv4.Hyper{Fn: fn, Base: e.Base, Scale: e.Scale, Norm: vector(e.Norm)}
			for _, decode := range []bool{false, true} {
				x, u, mix := slices.Clone(e.X), poison(2*4), poison(2*20)
				step := func(b *dsv4.Batch, from, n int) {
					x, u, mix := floats(x[16*from:16*(from+n)]), floats(u[4*from:4*(from+n)]), floats(mix[20*from:20*(from+n)])
					o.HyperIn(b, h, x, u, mix)
					o.HyperOut(b, mix, floats(e.Y[4*from:4*(from+n)]), x)
				}
				if decode {
					step(&dsv4.Batch{Tokens: make([]token.ID, 1), Decode: true}, 0, 1)
					step(&dsv4.Batch{Tokens: make([]token.ID, 1), Decode: true}, 1, 1)
				} else {
					step(&dsv4.Batch{Tokens: make([]token.ID, 2)}, 0, 2)
				}
				// The table's seven decimals and some ten float32 roundings of figures up to 2.
				if err := e.Check(u, x, 1.5e-6); err != nil {
					t.Errorf("%s, decode %v: %v", set, decode, err)
				}
			}
		}
	}
}
