package synth

import (
	"fmt"
	"math"
	"strings"

	"assay/engine/tensor"
)

// law is how the weights of a parameter are distributed. A matrix weight is
//
//	w[r,c] = size · 2^(ρ[r] + β[r,c/32]) · z[r,c]    z ~ N(0, 1)
//	ρ[r] ~ N(0, rows²), one octave more in one row of 4096; β ~ N(0, blocks²)
//
// which has heavier tails than N(0, size²): its kurtosis is 3·e^(4s²), with
// s² = (rows² + blocks²)·(ln 2)², and a little more with the large rows. FP8 has one β for a block of 128 x 128.
// A vector element is mean + size·z, and 4 more with the chance spikes.
type law struct {
	matrix       bool
	octaves      float64 // of a matrix: log2(size·√in), or log2(size) where fixed
	fixed        bool
	rows, blocks float64 // octaves
	mean, size   float64
	spikes       float64
}

// matrices are the laws of matrices by class. The numbers are those of the
// trained reference model (refmodel), measured by class: the mean over rows of
// log2 ‖row‖, which is log2(size·√in); and the standard deviation of log2 of
// the norms of rows, and of columns for blocks, less what a finite norm varies
// by in any case, 1.02/√n octaves. The kurtosis comes out as there: FP4 routed
// experts 3.13 (measured 3.08 to 3.15), attention 3.3 (3.0 to 3.5), router 4.3
// (4.3).
//
// So do scales. The E8M0 codes of FP4 groups in the reference model lie on two
// neighbours, but for 3 in 1000: 2^-5 23 % and 2^-4 77 % in w1, 49 % and 51 % in
// w2. Those of FP8 blocks do too: 2^-10 42 % to 100 %.
var matrices = map[tensor.Class]law{
	tensor.Embedding:    {octaves: 2.7, rows: 0.02, blocks: 0.02},
	tensor.Head:         {octaves: 0.5, rows: 0.18, blocks: 0.12},
	tensor.Attention:    {octaves: 0.4, rows: 0.17, blocks: 0.14}, // 0.09 (wo_b) to 0.73 (wo_a)
	tensor.Compressor:   {octaves: 0.4, rows: 0.18, blocks: 0.15},
	tensor.Indexer:      {octaves: 0.1, rows: 0.37, blocks: 0.17},  // -0.22 to 0.65
	tensor.SharedExpert: {octaves: 0.0, rows: 0.05, blocks: 0.05},  // 0.26, 0.23 and w2 -0.47
	tensor.RoutedExpert: {octaves: 0.35, rows: 0.05, blocks: 0.05}, // 0.58, 0.60 and w2 -0.11
	tensor.NextToken:    {octaves: 0.4, rows: 0.17, blocks: 0.14},  // as attention: the reference model has none
	tensor.Router:       {octaves: 0.5, rows: 0.35, blocks: 0.25},
	tensor.Hyper:        {octaves: 1.6, rows: 0.35, blocks: 0.35},               // kurtosis 3.6 to 4.7
	tensor.Control:      {octaves: -3.6, fixed: true, rows: 0.30, blocks: 0.75}, // position biases: rms 0.09, kurtosis 5 to 14
}

// vectors are the laws of one-dimensional parameters by class, from the same
// model: mean and standard deviation of norms (0.79 to 1.03, 0.06 to 0.30), of
// the router's bias (0.14, 0.08), of sinks (1.3, 1.2); hc bases are small but
// for one in six, which are about 4.
var vectors = map[tensor.Class]law{
	tensor.Norm:    {mean: 1, size: 0.2},
	tensor.Router:  {mean: 0.14, size: 0.08},
	tensor.Control: {mean: 1.3, size: 1.2},
	tensor.Hyper:   {size: 0.3, spikes: 1. / 6},
}

// hyperScale is the law of hc scales: 0.19 to 0.22, all above 0.
var hyperScale = law{mean: 0.2, size: 0.04}

// lawOf returns the law of a parameter that isn't a table of numbers.
func lawOf(p tensor.Param) (law, error) {
	var l law
	var ok bool
	switch {
	case len(p.Shape) == 2:
		l, ok = matrices[p.Class]
		l.matrix = true
	case p.Class == tensor.Hyper && strings.HasSuffix(p.Name, "_scale"):
		l, ok = hyperScale, true
	case len(p.Shape) == 1:
		l, ok = vectors[p.Class]
	}
	if !ok {
		return law{}, fmt.Errorf("synth: %s: no law for a parameter of class %s and this shape", p.Info, p.Class)
	}
	return l, nil
}

// base returns log2 of a matrix's size in sixteenths of an octave, which is the
// grid of all sizes.
func (l law) base(in int) int {
	octaves := l.octaves
	if !l.fixed {
		octaves -= math.Log2(float64(in)) / 2
	}
	return int(math.Round(octaves * grid))
}
