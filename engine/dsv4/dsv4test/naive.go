package dsv4test

import (
	"math"
	"runtime"
	"sync"

	"assay/engine/dsv4"
	"assay/engine/tensor"
)

// Naive is the model's operations in float64, written from the specification
// with loops and nothing else: the oracle of every backend. Mistake switches on
// one error that a port has made, or none if empty.
type Naive struct {
	C       *dsv4.Config
	Options dsv4.Options
	Mistake Mistake
	Log     *Log // notes every selection, if not nil
	// LogSumExp is ln Σ e^logit of every distribution so far, in order.
	LogSumExp []float64
	wrapped   []wrapped
}

// Array holds float64; Ints holds int32.
type (
	array []float64
	ints  []int32
)

func (a array) Len() int { return len(a) }
func (a ints) Len() int  { return len(a) }

// Floats makes an array of Naive's, for tests of one operation.
func Floats(v []float32) dsv4.Array { return array(wide(v)) }

// Ints makes an array of whole numbers of Naive's.
func Ints(v []int32) dsv4.Array { return ints(v) }

type (
	matrix struct {
		rows, cols int
		w          []float64
		bytes      int64
	}
	vector  []float64
	table   []int32
	experts [][3]*matrix
	rope    struct{ cos, sin [][]float64 } // [position][pair]
)

func (m *matrix) Bytes() int64 { return m.bytes }
func (v vector) Bytes() int64  { return int64(4 * len(v)) }
func (t table) Bytes() int64   { return int64(4 * len(t)) }
func (r *rope) Bytes() int64   { return 0 }
func (e experts) Bytes() (n int64) {
	for _, x := range e {
		n += x[0].bytes + x[1].bytes + x[2].bytes
	}
	return n
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func load(m *tensor.Matrix) *matrix {
	return &matrix{m.Rows, m.Cols, wide(m.Decode()), m.Bytes()}
}

// Load decodes every weight.
func (n *Naive) Load(m *tensor.Matrix) (dsv4.Weight, error) { return load(m), nil }

// LoadVector widens v.
func (n *Naive) LoadVector(_ string, v []float32) (dsv4.Weight, error) { return vector(wide(v)), nil }

// LoadTable keeps v.
func (n *Naive) LoadTable(_ string, v []int32) (dsv4.Weight, error) { return table(v), nil }

// LoadExperts decodes every expert.
func (n *Naive) LoadExperts(e []dsv4.ExpertMatrices) (dsv4.Weight, error) {
	var all experts
	for _, x := range e {
		all = append(all, [3]*matrix{load(x.W1), load(x.W3), load(x.W2)})
	}
	return all, nil
}

// LoadRope takes angles float32(p)·f rounded to float32.
func (n *Naive) LoadRope(f []float32, positions int) (dsv4.Weight, error) {
	f = n.Mistake.frequencies(n.C, f)
	r := &rope{}
	for p := range positions {
		cos, sin := make([]float64, len(f)), make([]float64, len(f))
		for i := range f {
			angle := float64(float32(p) * f[i])
			cos[i], sin[i] = math.Cos(angle), math.Sin(angle)
		}
		r.cos, r.sin = append(r.cos, cos), append(r.sin, sin)
	}
	return r, nil
}

// Unload, NewArray, NewInts, Slice, Read and ReadInts are dsv4.Memory's.

func (n *Naive) Unload(dsv4.Weight)                         {}
func (n *Naive) NewArray(k int) (dsv4.Array, error)         { return make(array, k), nil }
func (n *Naive) NewInts(k int) (dsv4.Array, error)          { return make(ints, k), nil }
func (n *Naive) Slice(a dsv4.Array, from, k int) dsv4.Array { return a.(array)[from : from+k] }
func (n *Naive) ReadInts(dst []int32, a dsv4.Array, from int) error {
	copy(dst, a.(ints)[from:])
	return nil
}

func (n *Naive) Read(dst []float32, a dsv4.Array, from int) error {
	for i := range dst {
		dst[i] = float32(a.(array)[from+i])
	}
	return nil
}

// each calls f for 0..k-1 on all cores.
func each(k int, f func(int)) {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < k; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}

func (m *matrix) times(x, y []float64) {
	for r := range y {
		var s float64
		for c, w := range m.w[r*m.cols:][:m.cols] {
			s += w * x[c]
		}
		y[r] = s
	}
}

// Embed repeats the token's row.
func (n *Naive) Embed(b *dsv4.Batch, w dsv4.Weight, x dsv4.Array) {
	m := w.(*matrix)
	for t, id := range b.Tokens {
		for j := range n.C.HCMult {
			copy(x.(array)[(t*n.C.HCMult+j)*m.cols:], m.w[int(id)*m.cols:][:m.cols])
		}
	}
}

// Linear is x·wᵀ.
func (n *Naive) Linear(b *dsv4.Batch, x dsv4.Array, products ...dsv4.Product) {
	for _, p := range products {
		n.GroupLinear(b, p.W, 1, x, p.Y)
	}
}

// GroupLinear is x·wᵀ by groups.
func (n *Naive) GroupLinear(b *dsv4.Batch, w dsv4.Weight, groups int, x, y dsv4.Array) {
	m := w.(*matrix)
	rows := m.rows / groups
	each(len(b.Tokens), func(t int) {
		for g := range groups {
			part := matrix{rows, m.cols, m.w[g*rows*m.cols:], 0}
			part.times(x.(array)[(t*groups+g)*m.cols:][:m.cols], y.(array)[(t*groups+g)*rows:][:rows])
		}
	})
}

func meanSquare(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v * v
	}
	return s / float64(len(x))
}

// normed is x/sqrt(mean(x²)+eps)·w in place; nil w is ones.
func (n *Naive) normed(x []float64, w []float64) {
	r := 1 / math.Sqrt(meanSquare(x)+n.C.RMSNormEps)
	for i := range x {
		x[i] *= r
		if w != nil {
			x[i] *= w[i]
		}
	}
}

func sigma(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// HyperIn is steps 1 to 9 of the specification's 3.2.
func (n *Naive) HyperIn(b *dsv4.Batch, h *dsv4.Hyper, x, u, mix dsv4.Array) {
	N, D := n.C.HCMult, n.C.HiddenSize
	fn := h.Fn.(*matrix)
	each(len(b.Tokens), func(t int) {
		f := x.(array)[t*N*D:][:N*D]
		m := make([]float64, (2+N)*N)
		fn.times(f, m)
		rho := 1 / math.Sqrt(meanSquare(f)+n.C.RMSNormEps)
		at := func(i, s int) float64 { return m[i]*rho*float64(h.Scale[s]) + float64(h.Base[i]) }
		out := mix.(array)[t*(N+N*N):][:N+N*N]
		in := u.(array)[t*D:][:D]
		clear(in)
		for j := range N {
			pre := sigma(at(j, 0))
			if n.Mistake != NoHCEps {
				pre += n.C.HCEps
			}
			for c := range in {
				in[c] += pre * f[j*D+c]
			}
			out[j] = 2 * sigma(at(N+j, 1))
			if n.Mistake == PostNotDoubled {
				out[j] /= 2
			}
			for k := range N {
				out[N+j*N+k] = at(2*N+j*N+k, 2)
			}
		}
		Sinkhorn(out[N:], N, n.C.HCSinkhornIters, n.C.HCEps)
		n.normed(in, h.Norm.(vector))
	})
}

// Sinkhorn makes the N×N matrix c doubly stochastic: a softmax of its rows plus
// eps, then columns and rows divided by their sums plus eps, columns iters times.
func Sinkhorn(c []float64, N, iters int, eps float64) {
	for j := range N {
		var sum float64
		top := math.Inf(-1)
		for k := range N {
			top = math.Max(top, c[j*N+k])
		}
		for k := range N {
			c[j*N+k] = math.Exp(c[j*N+k] - top)
			sum += c[j*N+k]
		}
		for k := range N {
			c[j*N+k] = c[j*N+k]/sum + eps
		}
	}
	divide := func(from, stride int) {
		sum := eps
		for i := range N {
			sum += c[from+i*stride]
		}
		for i := range N {
			c[from+i*stride] /= sum
		}
	}
	for it := range iters {
		for j := 0; it > 0 && j < N; j++ {
			divide(j*N, 1)
		}
		for k := range N {
			divide(k, N)
		}
	}
}

// HyperOut is step 10.
func (n *Naive) HyperOut(b *dsv4.Batch, mix, y, x dsv4.Array) {
	N, D := n.C.HCMult, n.C.HiddenSize
	for t := range b.Tokens {
		m, f := mix.(array)[t*(N+N*N):][:N+N*N], x.(array)[t*N*D:][:N*D]
		old := append([]float64(nil), f...)
		for k := range N {
			for c := range D {
				s := m[k] * y.(array)[t*D+c]
				for j := range N {
					comb := m[N+j*N+k]
					if n.Mistake == CombNotTransposed {
						comb = m[N+k*N+j]
					}
					s += comb * old[j*D+c]
				}
				f[k*D+c] = s
			}
		}
	}
}

// HeadIn is the specification's 3.11 up to the norm.
func (n *Naive) HeadIn(b *dsv4.Batch, h *dsv4.HyperHead, norm dsv4.Weight, x, v dsv4.Array) {
	N, D := n.C.HCMult, n.C.HiddenSize
	for t := range b.Tokens {
		f, out := x.(array)[t*N*D:][:N*D], v.(array)[t*D:][:D]
		m := make([]float64, N)
		h.Fn.(*matrix).times(f, m)
		rho := 1 / math.Sqrt(meanSquare(f)+n.C.RMSNormEps)
		clear(out)
		for j := range N {
			pre := sigma(m[j]*rho*float64(h.Scale)+float64(h.Base[j])) + n.C.HCEps
			for c := range out {
				out[c] += pre * f[j*D+c]
			}
		}
		n.normed(out, norm.(vector))
	}
}

// LogProbs is a log-softmax of head·hidden.
func (n *Naive) LogProbs(head dsv4.Weight, hidden, dst []float32, _ bool) error {
	m := head.(*matrix)
	lse := make([]float64, len(dst)/m.rows)
	each(len(lse), func(t int) {
		l := make([]float64, m.rows)
		m.times(wide(hidden[t*m.cols:][:m.cols]), l)
		top, sum := math.Inf(-1), 0.0
		for _, x := range l {
			top = math.Max(top, x)
		}
		for _, x := range l {
			sum += math.Exp(x - top)
		}
		lse[t] = top + math.Log(sum)
		for i, x := range l {
			dst[t*m.rows+i] = float32(x - lse[t])
		}
	})
	n.LogSumExp = append(n.LogSumExp, lse...)
	return nil
}

var _ dsv4.Ops = (*Naive)(nil)
