package kernel

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// benchFormats are the formats that variants of the grid use, and native ones.
var benchFormats = []Matrix{
	{Kind: F32}, {Kind: BF16}, {Kind: Affine, Bits: 8, Group: 32}, {Kind: Affine, Bits: 6, Group: 64},
	{Kind: Affine, Bits: 4, Group: 32}, {Kind: Affine, Bits: 3, Group: 32}, {Kind: MXFP4}, {Kind: MXFP8},
}

func (m Matrix) benchName() string {
	names := map[Kind]string{F32: "f32", BF16: "bf16", MXFP4: "mxfp4", MXFP8: "mxfp8"}
	if m.Kind == Affine {
		return fmt.Sprintf("affine%dg%d", m.Bits, m.Group)
	}
	return names[m.Kind]
}

// zeros makes a matrix whose codes are all but 0: kernels take as long as for
// others, but each page must have been written to be one.
func zeros(m Matrix, rows, cols int) *Matrix {
	m.Rows, m.Cols = rows, cols
	bits := map[Kind]int{F32: 32, BF16: 16, Affine: m.Bits, MXFP4: 4, MXFP8: 8}[m.Kind]
	m.Codes = make([]byte, rows*cols*bits/8)
	switch m.Kind {
	case Affine:
		m.Scales, m.Biases = make([]byte, 2*rows*cols/m.Group), make([]byte, 2*rows*cols/m.Group)
	case MXFP4, MXFP8:
		m.Scales = make([]byte, rows*cols/32)
	}
	for i := 0; i < len(m.Codes); i += 4096 {
		m.Codes[i] = 1
	}
	for i := 0; i < len(m.Scales); i += 4096 {
		m.Scales[i] = 1
	}
	for i := 0; i < len(m.Biases); i += 4096 {
		m.Biases[i] = 1
	}
	return &m
}

func (m *Matrix) benchBytes() int { return len(m.Codes) + len(m.Scales) + len(m.Biases) }

// each runs f with every set that this machine has.
func each(b *testing.B, name string, f func(*testing.B, *Set)) {
	for _, n := range Names {
		if set, err := For(n); err == nil {
			b.Run(n+"/"+name, func(b *testing.B) { f(b, set) })
		}
	}
}

func rate(b *testing.B, each float64, unit string) {
	b.ReportMetric(each*float64(b.N)/b.Elapsed().Seconds()/1e9, unit)
}

// limit reports a rate and its share of what the machine does at most.
func limit(b *testing.B, each float64, unit string, most float64) {
	rate(b, each, unit)
	b.ReportMetric(100*each*float64(b.N)/b.Elapsed().Seconds()/most, "%limit")
}

// peakFLOPS and readBandwidth measure the machine's limits once.
var (
	limits        sync.Map
	peakFLOPS     = func(threads int) float64 { return measured(threads, PeakFLOPS) }
	readBandwidth = func(threads int) float64 {
		return measured(-threads, func(int) float64 { return ReadBandwidth(threads) })
	}
)

func measured(key int, f func(int) float64) float64 {
	v, ok := limits.Load(key)
	if !ok {
		v = f(key)
		limits.Store(key, v)
	}
	return v.(float64)
}

func random(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = rand.Float32() - 0.5
	}
	return x
}

// matVecFormats are benchFormats and the other widths and groups.
var matVecFormats = append(benchFormats[:len(benchFormats):len(benchFormats)],
	Matrix{Kind: Affine, Bits: 8, Group: 128}, Matrix{Kind: Affine, Bits: 5, Group: 64}, Matrix{Kind: Affine, Bits: 4, Group: 64},
	Matrix{Kind: Affine, Bits: 4, Group: 128}, Matrix{Kind: Affine, Bits: 3, Group: 64}, Matrix{Kind: Affine, Bits: 2, Group: 64})

// BenchmarkMatVec multiplies a matrix with V4-Flash's columns that no cache
// holds, 128 MiB and more of stored weights, on one thread and on all; the limit
// is memory's. In cache it is a matrix of 256 KiB, and the limit that of
// floating point.
func BenchmarkMatVec(b *testing.B) {
	const cols = 4096
	for _, f := range matVecFormats {
		row := len(zeros(f, 1, cols).Codes)
		threads := map[string]int{"threads=1": 1, fmt.Sprintf("threads=%d", runtime.NumCPU()): runtime.NumCPU()}
		for _, name := range slices.Sorted(maps.Keys(threads)) {
			each(b, f.benchName()+"/"+name, func(b *testing.B, s *Set) {
				m := zeros(f, (128<<20)/row, cols)
				benchMatVec(b, s, m, threads[name])
				limit(b, float64(m.benchBytes()), "GB/s", readBandwidth(threads[name]))
			})
		}
		each(b, f.benchName()+"/cached", func(b *testing.B, s *Set) {
			m := zeros(f, (256<<10)/row, cols)
			benchMatVec(b, s, m, 1)
			rate(b, float64(m.benchBytes()), "GB/s")
			limit(b, 2*float64(m.Rows*m.Cols), "GFLOP/s", peakFLOPS(1))
		})
	}
}

func benchMatVec(b *testing.B, s *Set, m *Matrix, threads int) {
	y := make([]float32, m.Rows)
	x := s.Prepare(m, random(m.Cols), make([]float32, Prepared(m.Cols)))
	for b.Loop() {
		if threads == 1 { // no thread to wait for: a product in cache takes as long as that
			s.MatVec(m, 0, m.Rows, x, y)
			continue
		}
		round(threads, func(i int) { s.MatVec(m, m.Rows*i/threads, m.Rows*(i+1)/threads, x, y) })
	}
}

func BenchmarkPool(b *testing.B) {
	for _, n := range []int{8, 128} {
		each(b, fmt.Sprintf("rows=%d", n), func(b *testing.B, s *Set) {
			const width = 512
			v, g, out := random(n*width), random(n*width), make([]float32, width)
			rows := make([]int64, n)
			for i := range rows {
				rows[i] = int64(i * width)
			}
			for b.Loop() {
				s.Pool(v, g, rows, nil, nil, out)
			}
			rate(b, 8*float64(n*width), "GB/s")
		})
	}
}

// BenchmarkStreams are the kernels that go through arrays once or twice. Bytes
// are those read and written.
func BenchmarkStreams(b *testing.B) {
	const n, m = 4096, 4
	x, w, y := random(n), random(n), make([]float32, n)
	streams, comb := random(m*n), random(m*m)
	for _, k := range []struct {
		name  string
		bytes int
		f     func(*Set)
	}{
		{"norm", 4 * 3 * n, func(s *Set) { s.Norm(x, w, y, 1e-6) }},
		{"squares", 4 * n, func(s *Set) { s.SumSquares(x) }},
		{"mix", 4 * (m + 1) * n, func(s *Set) { s.Mix(comb[:m], streams, y) }},
		{"remix", 4 * (2*m + 1) * n, func(s *Set) { clear(x); s.Remix(comb[:m], comb, x, streams) }},
		{"swiglu", 4 * 3 * n, func(s *Set) { s.SwiGLU(y, w, 10, 1) }},
		{"logsoftmax", 4 * 2 * n, func(s *Set) { s.LogSoftmax(y) }},
		{"exp", 4 * 2 * n, func(s *Set) { clear(y); s.Exp(y) }},
	} {
		each(b, k.name, func(b *testing.B, s *Set) {
			for b.Loop() {
				k.f(s)
			}
			rate(b, float64(k.bytes), "GB/s")
		})
	}
}

func BenchmarkSinkhorn(b *testing.B) {
	each(b, "tokens=64", func(b *testing.B, s *Set) {
		const t, m = 64, 4
		mixes, rho, base := random((2+m)*m*t), random(t), random((2+m)*m)
		pre, out := make([]float32, m*t), make([]float32, (m+m*m)*t)
		for b.Loop() {
			s.Sinkhorn(mixes, rho, base, [3]float32{1, 1, 1}, m, 20, 1e-6, pre, out)
		}
		rate(b, t*39*m*m*2, "GFLOP/s") // a sum and a product an element and step
	})
}
