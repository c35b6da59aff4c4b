package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"assay/engine/cpu/kernel"
)

// attendCase makes attention of some lanes over n keys of d channels: keys of
// all three bases, lanes in reverse order, random masks, a lane that sees
// nothing but its sink.
func attendCase(rng *rand.Rand, lanes, d, n int) kernel.Attend {
	a := kernel.Attend{Q: noise(rng, lanes*d), D: d, Scale: float32(1 / math.Sqrt(float64(d))), Sinks: noise(rng, lanes)}
	for i := range a.Base {
		a.Base[i] = noise(rng, n*d)
	}
	for l := range lanes {
		a.Lane = append(a.Lane, int64((lanes-1-l)*d))
	}
	for i := range n {
		a.ID = append(a.ID, uint32(i%3)<<kernel.RowBits|uint32(rng.IntN(n)))
		a.See = append(a.See, rng.Uint32()&^(1<<(lanes/2)))
	}
	return a
}

// TestAttend holds attention against float64 at ragged numbers of lanes and
// keys. A score s is off by ε = d·u·scale·Σ|q·k|, the tops by the greatest ε,
// the difference s−M by u of itself, e^x by its own error: a probability by
//
//	η = 2·(2·max ε + u·max|s−M| + expError) + (n+4)·u
//
// of itself, numerator and denominator together, and the mean of keys by
// (η + n·u)·Σp·|k|.
func TestAttend(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	all := twins(t)
	for _, lanes := range []int{1, 4, 15, 16, 17, 24, 31, 32} {
		for _, shape := range [][2]int{{16, 1}, {32, 2}, {80, 37}, {128, 130}, {512, 13}, {64, 5}, {64, 12}} {
			d, n := shape[0], shape[1]
			a := attendCase(rng, lanes, d, n)
			want, bound := attend64(a)
			for _, k := range all {
				b := a
				b.O, b.Room = poison(lanes*d), poison(kernel.AttendRoom(d, n))
				k.Attend(&b)
				for i, got := range b.O {
					within(t, fmt.Sprintf("%s, %d lanes, %d keys of %d, output %d", k.Name(), lanes, n, d, i), got, want[i], bound[i])
				}
			}
		}
	}
}

// TestAttendAll holds one token's attention against the same bounds, which count
// roundings in any order.
func TestAttendAll(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 9))
	all := twins(t)
	for _, lanes := range []int{1, 2, 3, 4, 5, 8, 31, 64} {
		for _, shape := range [][2]int{{16, 1}, {32, 2}, {48, 3}, {80, 37}, {128, 192}, {512, 13}, {64, 5}} {
			d, n := shape[0], shape[1]
			a := attendCase(rng, lanes, d, n)
			for i := range a.See {
				a.See[i] = ^uint32(0)
			}
			// attend64 has a bit for each of up to 32 lanes.
			want, bound := make([]float64, lanes*d), make([]float64, lanes*d)
			for from := 0; from < lanes; from += kernel.Panel {
				part := a
				to := min(from+kernel.Panel, lanes)
				part.Lane, part.Sinks = a.Lane[from:to], a.Sinks[from:to]
				w, b := attend64(part)
				for i := range w {
					want[i], bound[i] = want[i]+w[i], bound[i]+b[i]
				}
			}
			a.See = nil
			for _, k := range all {
				b := a
				b.O, b.Room = poison(lanes*d), poison(kernel.AttendRoom(d, n))
				k.AttendAll(&b)
				for i, got := range b.O {
					within(t, fmt.Sprintf("%s, %d lanes, %d keys of %d, output %d", k.Name(), lanes, n, d, i), got, want[i], bound[i])
				}
			}
		}
	}
}

// attend64 is attention in float64, with its bounds.
func attend64(a kernel.Attend) (o, bound []float64) {
	o, bound = make([]float64, len(a.Q)), make([]float64, len(a.Q))
	for l, at := range a.Lane {
		var keys [][]float32
		var scores []float64
		var eps float64
		top := float64(a.Sinks[l])
		for i, id := range a.ID {
			if a.See[i]>>l&1 == 0 {
				continue
			}
			key := a.Base[id>>kernel.RowBits][int(id&kernel.RowMask)*a.D:][:a.D]
			s, size := dot64(a.Q[at:][:a.D], key)
			keys, scores = append(keys, key), append(scores, s*float64(a.Scale))
			eps = max(eps, float64(a.D+1)*u*size*float64(a.Scale))
			top = max(top, s*float64(a.Scale))
		}
		sum, far := math.Exp(float64(a.Sinks[l])-top), top-float64(a.Sinks[l])
		for _, s := range scores {
			sum += math.Exp(s - top)
			far = max(far, top-s)
		}
		n := float64(len(a.ID))
		eta := 2*(2*eps+u*far+expError) + (n+4)*u
		for i, s := range scores {
			p := math.Exp(s-top) / sum
			for c, v := range keys[i] {
				o[int(at)+c] += p * float64(v)
				bound[int(at)+c] += (eta + n*u) * p * math.Abs(float64(v))
			}
		}
	}
	return o, bound
}

// TestAttendLanes wants a lane's bits to be its own, whatever lanes stand beside
// it and whichever other keys they see.
func TestAttendLanes(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for _, set := range vectorSets(t) {
		for range 50 {
			lanes, d, n := 1+rng.IntN(32), 16*(1+rng.IntN(8)), 1+rng.IntN(60)
			a := attendCase(rng, lanes, d, n)
			a.O, a.Room = poison(lanes*d), poison(kernel.AttendRoom(d, n))
			set.Attend(&a)
			l := rng.IntN(lanes)
			alone := a
			alone.Lane, alone.Sinks = a.Lane[l:l+1], a.Sinks[l:l+1]
			alone.ID, alone.See = nil, nil
			for i, id := range a.ID {
				if a.See[i]>>l&1 == 1 {
					alone.ID, alone.See = append(alone.ID, id), append(alone.See, 1)
				}
			}
			alone.O, alone.Room = poison(lanes*d), poison(kernel.AttendRoom(d, n))
			set.Attend(&alone)
			for c := range d {
				if got, want := a.O[int(a.Lane[l])+c], alone.O[int(a.Lane[l])+c]; got != want {
					t.Fatalf("%s: lane %d of %d, channel %d of %d, is %g among others, %g alone", set.Name(), l, lanes, c, d, got, want)
				}
			}
		}
	}
}

// TestIndexScores holds the indexer's scores against float64. A product of d
// channels is off by d·u of its size, max(0, ·) adds nothing, and the sum over
// heads has one rounding for each of them and one for each product.
func TestIndexScores(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	all := twins(t)
	for _, shape := range [][4]int{{1, 1, 32, 1}, {1, 4, 64, 12}, {9, 4, 64, 13}, {7, 5, 32, 25}, {32, 4, 64, 70}, {2, 64, 128, 5}, {3, 33, 16, 11}} {
		m, heads, d, n := shape[0], shape[1], shape[2], shape[3]
		q, w, keys := noise(rng, m*heads*d), noise(rng, m*heads), noise(rng, n*d)
		want, bound := make([]float64, m*n), make([]float64, m*n)
		for i := range want {
			for h := range heads {
				dot, size := dot64(q[(i/n*heads+h)*d:][:d], keys[i%n*d:])
				weight := float64(w[i/n*heads+h])
				want[i] += weight * max(dot, 0)
				bound[i] += math.Abs(weight) * size * float64(d+heads+1) * u
			}
		}
		for _, k := range all {
			out := poison(m * n)
			k.IndexScores(q, w, m, heads, d, keys, n, out, poison(kernel.IndexRoom(d)))
			for i, got := range out {
				within(t, fmt.Sprintf("%s, %v, score %d", k.Name(), shape, i), got, want[i], bound[i])
			}
			out = poison(n)
			k.IndexOne(q[:heads*d], w[:heads], heads, d, keys, n, out)
			for i, got := range out {
				within(t, fmt.Sprintf("%s, %v, score %d of one query", k.Name(), shape, i), got, want[i], bound[i])
			}
		}
	}
}

// TestPool holds the pooled softmax against float64: e^(g−top) is off by
// u·|g−top| + expError, twice since the sum is too, and sums and quotient by
// 2n + 1 roundings.
func TestPool(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 10))
	all := twins(t)
	for _, n := range []int{1, 4, 5, 8, 13, 128} {
		for _, width := range []int{16, 32, 80, 512} {
			v, g := noise(rng, width*n+3), noise(rng, width*n+3)
			var rows []int64
			for i := range n {
				rows = append(rows, int64(3+i*width))
				if i%3 == 1 {
					rows[i] = -1 - rows[i] // from the ring, whose values are g and gates v
				}
			}
			for _, k := range all {
				out := poison(width)
				k.Pool(v, g, rows, g, v, out)
				for c, got := range out {
					want, bound := pool64(rows, v, g, c)
					within(t, fmt.Sprintf("%s, %d rows of %d, channel %d", k.Name(), n, width, c), got, want, bound)
				}
			}
		}
	}
}

func pool64(rows []int64, v, g []float32, c int) (want, bound float64) {
	values, gates := make([]float64, len(rows)), make([]float64, len(rows))
	top, least := math.Inf(-1), math.Inf(1)
	for i, at := range rows {
		values[i], gates[i] = float64(v[max(at, -1-at)+int64(c)]), float64(g[max(at, -1-at)+int64(c)])
		if at < 0 {
			values[i], gates[i] = gates[i], values[i]
		}
		top, least = max(top, gates[i]), min(least, gates[i])
	}
	var sum, acc, size float64
	for i, x := range gates {
		e := math.Exp(x - top)
		sum += e
		acc += e * values[i]
		size += e * math.Abs(values[i])
	}
	eta := 2*(u*(top-least)+expError) + float64(2*len(rows)+1)*u
	return acc / sum, eta * size / sum
}

// TestAttendStaysInside: where a head's channels leave one beside whole blocks of
// rows, a key that ends at unreadable memory is read to its end and no further.
func TestAttendStaysInside(t *testing.T) {
	for _, set := range vectorSets(t) {
		for _, d := range []int{16, 32, 48, 64, 80, 96, 112, 128, 512} {
			const keys = 3
			room, free := guarded(t, keys*d)
			for i := range room {
				room[i] = float32(i%7) - 3
			}
			q, out := make([]float32, d), make([]float32, d)
			for i := range q {
				q[i] = float32(i%5) / 8
			}
			a := kernel.Attend{Q: q, O: out, D: d, Scale: 0.1, ID: []uint32{0, 1, 2}, See: []uint32{1, 1, 1}, Lane: []int64{0}, Sinks: []float32{0},
				Room: make([]float32, kernel.AttendRoom(d, keys))}
			a.Base[0] = room
			set.Attend(&a)
			want := make([]float32, d)
			a.O = want
			plain{}.Attend(&a)
			for i := range want {
				if diff := math.Abs(float64(out[i] - want[i])); !(diff < 1e-4) {
					t.Errorf("%s, head of %d: channel %d is %g, want %g", set.Name(), d, i, out[i], want[i])
				}
			}
			free()
		}
	}
}

// guarded returns n floats that end where memory that nobody may touch begins.
func guarded(t *testing.T, n int) (v []float32, free func()) {
	t.Helper()
	size := os.Getpagesize()
	whole := (4*n + size - 1) / size * size
	all, err := unix.Mmap(-1, 0, whole+size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mprotect(all[whole:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&all[whole-4*n])), n), func() { unix.Munmap(all) }
}

// TestNewLeavesNothing: a backend that cannot be made leaves no thread.
func TestNewLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		if _, err := New(Options{Threads: 8, Kernels: "nonesuch"}); err == nil {
			t.Fatal("there are kernels named nonesuch")
		}
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines are left of %d", n, before)
	}
}
