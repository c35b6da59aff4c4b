package eval

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// logs returns the logarithms of probabilities, as float32.
func logs(p ...float64) []float32 {
	out := make([]float32, len(p))
	for i, x := range p {
		out[i] = float32(math.Log(x))
	}
	return out
}

// logSoftmax returns log-probabilities of logits.
func logSoftmax(logits []float64) []float32 {
	var sum float64
	top := slices.Max(logits)
	for _, x := range logits {
		sum += math.Exp(x - top)
	}
	out := make([]float32, len(logits))
	for i, x := range logits {
		out[i] = float32(x - top - math.Log(sum))
	}
	return out
}

// By hand: D = ½·ln(½/¼) + ¼·ln(¼/½) + ¼·ln(¼/¼) = ¼·ln 2; −ln ¼ = 2·ln 2.
// The logarithms are rounded to float32, so 1e-7.
func TestScoreToken(t *testing.T) {
	nll, kl, top1, err := ScoreToken(logs(0.5, 0.25, 0.25), logs(0.25, 0.5, 0.25), 2)
	if err != nil || math.Abs(nll-2*math.Ln2) > 1e-7 || math.Abs(kl-math.Ln2/4) > 1e-7 || top1 {
		t.Errorf("%v, %v, %v, %v, want %v, %v, false", nll, kl, top1, err, 2*math.Ln2, math.Ln2/4)
	}
}

// Figures of scipy 1.17.1 on the same float32 vectors: rel_entr(exp(p),
// exp(q)).sum() in float64, −q[17], and the argmax of each, 781 and 736.
func TestScoreTokenAgainstScipy(t *testing.T) {
	a, b := lcg(1, 1000), lcg(2, 1000)
	for i := range b {
		b[i] = a[i] + b[i]*0.05
	}
	nll, kl, top1, err := ScoreToken(logSoftmax(a), logSoftmax(b), 17)
	if err != nil || top1 {
		t.Fatalf("top-1 %v, %v", top1, err)
	}
	if math.Abs(nll-8.427955627441406) > 2e-6 || math.Abs(kl/0.006046724418301537-1) > 1e-5 {
		t.Errorf("nll %v, kl %v", nll, kl)
	}
	if p, q := argmax(logSoftmax(a)), argmax(logSoftmax(b)); p != 781 || q != 736 {
		t.Errorf("argmax %d and %d", p, q)
	}
}

// lcg returns n values in [−4, 4) of Knuth's MMIX generator's upper bits.
func lcg(seed uint64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		seed = seed*6364136223846793005 + 1442695040888963407
		out[i] = float64(seed>>40)/(1<<24)*8 - 4
	}
	return out
}

func TestScoreOfEqualVectors(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		logits := make([]float64, 1+r.IntN(3000))
		for i := range logits {
			logits[i] = 20 * r.NormFloat64()
		}
		p := logSoftmax(logits)
		if len(p) > 2 {
			p[1] = float32(math.Inf(-1)) // a token that cannot follow
			p = logSoftmax(float64s(p))
		}
		nll, kl, top1, err := ScoreToken(p, slices.Clone(p), 0)
		if err != nil || kl != 0 || !top1 || nll != -float64(p[0]) {
			t.Fatalf("%v, %v, %v, %v", nll, kl, top1, err)
		}
	}
}

func float64s(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// D is not negative beyond what the rounding to float32 leaves, 1e-6.
func TestKLIsNotNegative(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 100 {
		a := make([]float64, 200)
		b := make([]float64, 200)
		for i := range a {
			a[i] = 3 * r.NormFloat64()
			b[i] = a[i] + 1e-3*r.NormFloat64()
		}
		if _, kl, _, err := ScoreToken(logSoftmax(a), logSoftmax(b), 0); err != nil || kl < -1e-6 {
			t.Fatalf("kl %v, %v", kl, err)
		}
	}
}

func TestScoreTokenTies(t *testing.T) {
	quarter := logs(0.25, 0.25, 0.25, 0.25)
	if _, _, top1, _ := ScoreToken(quarter, logs(0.3, 0.3, 0.2, 0.2), 0); !top1 {
		t.Error("both tie, the lowest id is first in both")
	}
	if _, _, top1, _ := ScoreToken(quarter, logs(0.2, 0.3, 0.3, 0.2), 0); top1 {
		t.Error("the variant ranks 1 first, the reference 0")
	}
}

// What is not finite is neither dropped nor clamped; a term of p = 0 is 0.
func TestScoreTokenNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	one := []float32{0, -inf}
	half := logs(0.5, 0.5)
	for name, c := range map[string]struct {
		ref, got []float32
		target   int
		nll, kl  float64
		top1     bool
	}{
		"reference rules a token out": {one, half, 0, -float64(half[0]), -float64(half[0]), true},
		"variant rules a token out":   {half, one, 1, math.Inf(1), math.Inf(1), true},
		"both rule it out":            {one, one, 0, 0, 0, true},
		"NaN in the variant":          {half, []float32{half[0], nan}, 0, -float64(half[0]), math.NaN(), false},
		"NaN where p = 0":             {one, []float32{0, nan}, 0, 0, math.NaN(), false},
		"+Inf where p = 0":            {one, []float32{0, inf}, 0, 0, math.NaN(), false},
		"NaN in the reference":        {[]float32{nan, half[0]}, half, 0, -float64(half[0]), math.NaN(), false},
	} {
		nll, kl, top1, err := ScoreToken(c.ref, c.got, c.target)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !same(nll, c.nll) || !same(kl, c.kl) || top1 != c.top1 {
			t.Errorf("%s: %v, %v, %v, want %v, %v, %v", name, nll, kl, top1, c.nll, c.kl, c.top1)
		}
	}
}

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func TestScoreTokenRefuses(t *testing.T) {
	half := logs(0.5, 0.5)
	for _, c := range []struct {
		ref, got []float32
		target   int
		want     string
	}{
		{half, logs(0.5, 0.25, 0.25), 0, "eval: vocabulary of 3, the reference has 2"},
		{half, half, 2, "eval: target 2 is not in a vocabulary of 2"},
		{half, half, -1, "eval: target -1 is not in a vocabulary of 2"},
		{nil, nil, 0, "eval: the reference's distribution is empty"},
		{[]float32{1, 2}, half, 0, "eval: the reference's probabilities sum to 10.1"},
	} {
		if _, _, _, err := ScoreToken(c.ref, c.got, c.target); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// A Reference that is used again scores as a new one.
func TestReferenceReset(t *testing.T) {
	var r Reference
	for _, p := range [][]float32{logs(0.5, 0.25, 0.25), logs(0.1, 0.9), logs(0.2, 0.2, 0.6)} {
		if err := r.Reset(p); err != nil {
			t.Fatal(err)
		}
		got := logSoftmax(make([]float64, len(p)))
		nll, kl, top1, err := r.Score(got, 1)
		wantNLL, wantKL, wantTop, wantErr := ScoreToken(p, got, 1)
		if nll != wantNLL || kl != wantKL || top1 != wantTop || err != wantErr {
			t.Errorf("%v, %v, %v, %v, want %v, %v, %v", nll, kl, top1, err, wantNLL, wantKL, wantTop)
		}
	}
	if n := testing.AllocsPerRun(10, func() { r.Reset(logs2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var logs2 = logs(0.5, 0.5)

func BenchmarkScore(b *testing.B) {
	p, q := logSoftmax(lcg(1, 6144)), logSoftmax(lcg(2, 6144))
	r, err := NewReference(p)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("score", func(b *testing.B) {
		for b.Loop() {
			if _, _, _, err := r.Score(q, 3); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("reset", func(b *testing.B) {
		for b.Loop() {
			if err := r.Reset(p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
