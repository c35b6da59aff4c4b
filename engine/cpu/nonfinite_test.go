package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/tensor"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

func isFinite(x float32) bool { return x-x == 0 }

// with returns a copy of v with x at i.
func with(v []float32, i int, x float32) []float32 {
	v = slices.Clone(v)
	v[i] = x
	return v
}

// checkNone fails if any of v is finite.
func checkNone(t *testing.T, what string, v ...float32) {
	t.Helper()
	for i, x := range v {
		if isFinite(x) {
			t.Fatalf("%s: hidden, output %d is %g", what, i, x)
		}
	}
}

// places are where a bad input stands among n: first, in a vector, last.
func places(n int) []int { return []int{0, n / 2, n - 1} }

// TestNonFinite wants a NaN in an input to be one in every output that it
// belongs to, and an infinity to leave none of them finite, except where the
// formula says so: SwiGLU clamps, and e^−∞ is 0.
func TestNonFinite(t *testing.T) {
	for _, k := range twins(t) {
		for _, bad := range []float32{nan, inf, -inf} {
			what := fmt.Sprintf("%s, %v", k.Name(), bad)
			productsNonFinite(t, what, k, bad)
			attentionNonFinite(t, what, k, bad)
			smallNonFinite(t, what, k, bad)
		}
	}
}

// productsNonFinite wants all outputs of the bad token, and of no other.
func productsNonFinite(t *testing.T, what string, k kernels, bad float32) {
	rng := rand.New(rand.NewPCG(41, 1))
	const rows, cols, n = 35, 128, 5
	for _, f := range formats() {
		w := fill(rng, f, rows, cols)
		x := noise(rng, n*cols)
		for _, at := range places(cols) {
			bx := with(x, 3*cols+at, bad)
			y := make([]float32, n*rows)
			k.MatMul(&kernel.MatMul{W: &w, To: rows, X: bx, LdX: cols, Y: y, LdY: rows, N: n, Panel: poison(cols * kernel.Panel)})
			checkNone(t, fmt.Sprintf("%s, %s, product", what, formatOf(&w)), y[3*rows:4*rows]...)
			for i, v := range y {
				if i/rows != 3 && !isFinite(v) {
					t.Fatalf("%s, %s: token 3 is bad, token %d becomes %g", what, formatOf(&w), i/rows, v)
				}
			}
			k.MatVec(&w, 0, rows, prepared(k, &w, bx[3*cols:4*cols]), y)
			checkNone(t, fmt.Sprintf("%s, %s, matrix-vector product", what, formatOf(&w)), y[:rows]...)
		}
	}
}

func attentionNonFinite(t *testing.T, what string, k kernels, bad float32) {
	rng := rand.New(rand.NewPCG(42, 1))
	const lanes, d, n = 20, 32, 7
	for _, at := range places(d) {
		a := attendCase(rng, lanes, d, n)
		for i := range a.See {
			a.See[i] |= 1 << 3
		}
		for name, attend := range map[string]func(*kernel.Attend){"": k.Attend, " of one token": k.AttendAll} {
			run := func(a kernel.Attend) []float32 {
				a.O, a.Room = make([]float32, lanes*d), poison(kernel.AttendRoom(d, n))
				attend(&a)
				return a.O[a.Lane[3]:][:d] // of lane 3
			}
			key := a
			row := int(a.ID[2]&kernel.RowMask) * d
			key.Base[a.ID[2]>>kernel.RowBits] = with(a.Base[a.ID[2]>>kernel.RowBits], row+at, bad)
			checkNone(t, what+", key"+name, run(key)[at])
			if bad != bad {
				query := a
				query.Q = with(a.Q, int(a.Lane[3])+at, bad)
				checkNone(t, what+", query"+name, run(query)...)
			}
		}

		q, w, keys := noise(rng, 3*d), noise(rng, 3), noise(rng, n*d)
		scores := make([]float32, n)
		room := poison(kernel.IndexRoom(d))
		if bad != bad {
			k.IndexScores(with(q, d+at, bad), w, 1, 3, d, keys, n, scores, room)
			checkNone(t, what+", index query", scores...)
			k.IndexScores(q, w, 1, 3, d, with(keys, 4*d+at, bad), n, scores, room)
			checkNone(t, what+", index key", scores[4])
			k.IndexOne(with(q, d+at, bad), w, 3, d, keys, n, scores)
			checkNone(t, what+", index query of one", scores...)
			k.IndexOne(q, w, 3, d, with(keys, 4*d+at, bad), n, scores)
			checkNone(t, what+", index key of one", scores[4])
		}
		k.IndexScores(q, with(w, 1, bad), 1, 3, d, keys, n, scores, room)
		for b, s := range scores {
			if dot, _ := dot64(q[d:2*d], keys[b*d:][:d]); dot > 0 || bad != bad {
				checkNone(t, what+", index weight", s)
			}
		}

		v, g, out := noise(rng, n*d), noise(rng, n*d), make([]float32, d)
		rows := []int64{0, d, 2 * d, 3 * d}
		k.Pool(with(v, d+at, bad), g, rows, nil, nil, out)
		checkNone(t, what+", pooled value", out[at])
		if bad != -inf {
			k.Pool(v, with(g, d+at, bad), rows, nil, nil, out)
			checkNone(t, what+", pooling gate", out[at])
		}
	}
}

func smallNonFinite(t *testing.T, what string, k kernels, bad float32) {
	rng := rand.New(rand.NewPCG(43, 1))
	const n, m = 70, 4
	x, w := noise(rng, n), noise(rng, n)
	for _, at := range places(n) {
		y := make([]float32, n)
		k.Norm(with(x, at, bad), w, y, 1e-6)
		checkNone(t, what+", norm", y[at])
		if bad != bad {
			checkNone(t, what+", norm", y...)
		}
		checkNone(t, what+", squares", k.SumSquares(with(x, at, bad)))

		streams := noise(rng, m*n)
		k.Mix(noise(rng, m), with(streams, 2*n+at, bad), y)
		checkNone(t, what+", mix", y[at])
		re := with(streams, 2*n+at, bad)
		k.Remix(noise(rng, m), noise(rng, m*m), x, re)
		checkNone(t, what+", remix", column(re, n, at)...)
		k.Remix(noise(rng, m), noise(rng, m*m), with(x, at, bad), streams)
		checkNone(t, what+", remixed sublayer", column(streams, n, at)...)

		p := with(x, at, bad)
		k.LogSoftmax(p)
		checkNone(t, what+", log softmax", p[at])
		if bad != -inf { // which is a probability of 0
			checkNone(t, what+", log softmax", p...)
		}
		if bad == bad {
			continue
		}
		g := with(x, at, bad)
		k.SwiGLU(g, w, 1, 1)
		checkNone(t, what+", gate", g[at])
		g = slices.Clone(x)
		k.SwiGLU(g, with(w, at, bad), 1, 1)
		checkNone(t, what+", up", g[at])
	}
	if bad != bad {
		sinkhornNonFinite(t, what, k)
	}
}

func sinkhornNonFinite(t *testing.T, what string, k kernels) {
	rng := rand.New(rand.NewPCG(44, 1))
	const m, tokens, bad = 4, 18, 16
	mixes, rho, base := noise(rng, 24*tokens), noise(rng, tokens), noise(rng, 24)
	run := func(mixes, rho []float32) (pre, post, comb []float32) {
		all, out := make([]float32, m*tokens), make([]float32, 20*tokens)
		k.Sinkhorn(mixes, rho, base, [3]float32{1, 1, 1}, m, 20, 1e-6, all, out)
		for i := range tokens {
			for _, v := range append(all[i*m:(i+1)*m:(i+1)*m], out[i*20:(i+1)*20]...) {
				if i != bad && !isFinite(v) {
					t.Fatalf("%s: token %d is bad, token %d becomes %g", what, bad, i, v)
				}
			}
		}
		return all[bad*m:][:m], out[bad*20:][:m], out[bad*20+m:][:m*m]
	}
	pre, _, _ := run(with(mixes, 24*bad+1, nan), rho)
	checkNone(t, what+", pre", pre[1])
	_, post, _ := run(with(mixes, 24*bad+m+2, nan), rho)
	checkNone(t, what+", post", post[2])
	for _, at := range places(m * m) {
		_, _, comb := run(with(mixes, 24*bad+2*m+at, nan), rho)
		checkNone(t, what+", comb", comb...)
	}
	pre, post, comb := run(mixes, with(rho, bad, nan))
	checkNone(t, what+", rho", slices.Concat(pre, post, comb)...)
}

// badEmbedding is the golden weights with a NaN in one token's embedding.
type badEmbedding struct {
	*dsv4test.Golden
	token int
}

func (b badEmbedding) Matrix(name string) (*tensor.Matrix, error) {
	m, err := b.Golden.Matrix(name)
	if name == "embed.weight" {
		copy(m.Codes[4*b.token*m.Cols:], []byte{0, 0, 0xc0, 0x7f})
	}
	return m, err
}

// TestNonFiniteToken wants no finite log-probability from a bad token on, through
// prefill or decode: keys, pooled entries and selections hand it on.
func TestNonFiniteToken(t *testing.T) {
	c := dsv4test.GoldenConfig()
	toks := dsv4test.GoldenTokens()
	const at = 5
	w := badEmbedding{dsv4test.NewGolden(c), int(toks[at])}
	first := slices.Index(toks, toks[at])
	for _, set := range sets(t) {
		for _, sim := range []bool{false, true} {
			for _, chunks := range [][]int{{40}, dsv4test.Singles} {
				b := newBackend(t, Options{Kernels: set, Model: dsv4.Options{KVSim: sim}})
				got, err := dsv4test.Run(t.Context(), newOps(b, c), c, w, toks, chunks)
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range got[first:] {
					checkNone(t, fmt.Sprintf("%s, kv_sim %v, chunks of %d, position %d", set, sim, chunks[0], first+i), p...)
				}
			}
		}
	}
}
