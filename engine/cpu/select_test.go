package cpu

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// sorted is topBlocks by sorting: the k greatest, a NaN above all, ties to the
// lower index, ascending, then −1.
func sorted(scores []float32, k int) []int32 {
	order := make([]int32, len(scores))
	for i := range order {
		order[i] = int32(i)
	}
	rank := func(v float32) float32 {
		if v != v {
			return float32(math.Inf(1))
		}
		return v
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(rank(scores[b]), rank(scores[a])) })
	top := order[:min(k, len(order))]
	slices.Sort(top)
	for len(top) < k {
		top = append(top, -1)
	}
	return top
}

func checkTopBlocks(t *testing.T, scores []float32, k int) {
	t.Helper()
	got := make([]int32, k)
	for i := range got {
		got[i] = -7
	}
	topBlocks(got, slices.Clone(scores), make([]float32, len(scores)))
	if want := sorted(scores, k); !slices.Equal(got, want) {
		t.Fatalf("the %d best of %v are %v, want %v", k, scores, got, want)
	}
}

// TestTopBlocks compares the selection with a sort: ties, infinities and NaN.
func TestTopBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	odd := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.Copysign(0, -1)), 0}
	for i := range 4000 {
		scores := make([]float32, 1+rng.IntN(80))
		for j := range scores {
			switch {
			case i%3 == 0:
				scores[j] = float32(rng.NormFloat64())
			case i%3 == 1 && rng.IntN(4) == 0:
				scores[j] = odd[rng.IntN(len(odd))]
			default:
				scores[j] = float32(rng.IntN(6)) // ties
			}
		}
		checkTopBlocks(t, scores, 1+rng.IntN(20))
	}
}

// FuzzTopBlocks takes scores from bytes, four of them a float32 or, for ties,
// one of them a small number.
func FuzzTopBlocks(f *testing.F) {
	f.Add([]byte{1, 2, 3, 3, 3, 2, 1, 0}, byte(3), true)
	f.Add([]byte{0, 0, 192, 127, 0, 0, 128, 255, 0, 0, 0, 128}, byte(2), false)
	f.Fuzz(func(t *testing.T, data []byte, k byte, small bool) {
		var scores []float32
		if small {
			for _, b := range data {
				scores = append(scores, float32(int8(b)))
			}
		} else {
			for ; len(data) >= 4; data = data[4:] {
				scores = append(scores, math.Float32frombits(uint32(data[0])|uint32(data[1])<<8|uint32(data[2])<<16|uint32(data[3])<<24))
			}
		}
		checkTopBlocks(t, scores, 1+int(k))
	})
}

// TestKthLargest compares every k with a sort, on orders that quickselect
// dislikes too.
func TestKthLargest(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 12))
	for n := 1; n <= 40; n++ {
		for kind := range 5 {
			v := make([]float32, n)
			for i := range v {
				v[i] = []float32{float32(rng.NormFloat64()), float32(i), float32(-i), 1, float32(rng.IntN(3))}[kind]
			}
			want := slices.Clone(v)
			slices.Sort(want)
			for k := 1; k <= n; k++ {
				if got := kthLargest(slices.Clone(v), k); got != want[n-k] {
					t.Fatalf("number %d of %v is %v, want %v", k, v, got, want[n-k])
				}
			}
		}
	}
}

// TestTopExperts compares the router's choice, largest first, with a sort; a NaN
// comes before any number.
func TestTopExperts(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 12))
	for i := range 2000 {
		scores := make([]float32, 1+rng.IntN(40))
		for j := range scores {
			scores[j] = float32(rng.IntN(20)) / 16
		}
		if i%4 == 0 {
			scores[rng.IntN(len(scores))] = float32(math.NaN())
		}
		picks := make([]int32, 1+rng.IntN(len(scores)))
		topExperts(picks, slices.Clone(scores))
		if got, want := slices.Sorted(slices.Values(picks)), sorted(scores, len(picks)); !slices.Equal(got, want) {
			t.Fatalf("the %d best of %v are %v, want %v", len(picks), scores, got, want)
		}
		for j := 1; j < len(picks); j++ {
			if a, b := scores[picks[j-1]], scores[picks[j]]; a < b || a == b && picks[j-1] > picks[j] || b != b {
				t.Fatalf("%v of %v are not in order", picks, scores)
			}
		}
	}
}
