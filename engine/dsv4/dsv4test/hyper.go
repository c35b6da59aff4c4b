package dsv4test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"assay/engine/dsv4"
	"assay/engine/tensor"
)

// HyperExample is one mHC step whose inside is known: two tokens whose streams
// are the unit vectors, and mixes m_i = sin(1+i), so that an implementation
// shows its pre in the sublayer's input and its comb and post in the streams.
type HyperExample struct {
	C     *dsv4.Config
	Fn    *tensor.Matrix
	Base  []float32
	Scale [3]float32
	Norm  []float32 // ones
	X     []float32 // [2, 4, 4], x_j = e_j
	Y     []float32 // [2, 4]: the first token's sublayer gives zeros, the second's ones
}

// NewHyperExample makes the example of the specification's 3.2 with some number
// of Sinkhorn iterations: base_i = 0.1·((i mod 5) − 2), scale 0.5, 1, 2.
func NewHyperExample(iters int) HyperExample {
	c := *GoldenConfig()
	c.HiddenSize, c.HCSinkhornIters, c.HCEps, c.RMSNormEps = 4, iters, 1e-6, 1e-6
	e := HyperExample{C: &c, Scale: [3]float32{0.5, 1, 2}, Norm: []float32{1, 1, 1, 1}, X: make([]float32, 2*16), Y: []float32{0, 0, 0, 0, 1, 1, 1, 1}}
	e.Fn = &tensor.Matrix{Name: "fn", Rows: 24, Cols: 16, Format: tensor.PlainFormat(tensor.F32), Codes: make([]byte, 4*24*16)}
	rho := 1 / math.Sqrt(4./16+c.RMSNormEps)
	for i := range 24 {
		// Only f[0] = X_0[0] = 1 meets a weight.
		binary.LittleEndian.PutUint32(e.Fn.Codes[4*16*i:], math.Float32bits(float32(math.Sin(float64(1+i))/rho)))
		e.Base = append(e.Base, float32(0.1*float64(i%5-2)))
	}
	for t := range 2 {
		for j := range 4 {
			e.X[t*16+j*4+j] = 1
		}
	}
	return e
}

// HyperIterations are the numbers of iterations whose matrices are known.
var HyperIterations = []int{1, 2, 3, 20}

// Source: the specification's section 3.2.
var (
	hyperPre  = [4]float64{0.5549619, 0.5877454, 0.5176337, 0.4308468}
	hyperPost = [4]float64{0.6377597, 0.7647803, 1.2715100, 1.4579223}
	hyperComb = map[int][4][4]float64{
		1: {{0.4437341, 0.1480417, 0.0638797, 0.0962801}, {0.0895223, 0.6326415, 0.5671875, 0.0314306},
			{0.0082803, 0.0284803, 0.3056160, 0.8387445}, {0.4584627, 0.1908353, 0.0633149, 0.0335437}},
		2: {{0.4612688, 0.2059977, 0.0990143, 0.1411841}, {0.0529800, 0.5011708, 0.5005088, 0.0262393},
			{0.0054798, 0.0252295, 0.3015767, 0.7830063}, {0.4802706, 0.2676009, 0.0988989, 0.0495691}},
		3: {{0.4629172, 0.2243481, 0.1145042, 0.1660019}, {0.0446381, 0.4582376, 0.4859370, 0.0259015},
			{0.0044746, 0.0223569, 0.2837674, 0.7490896}, {0.4879692, 0.2950564, 0.1157903, 0.0590060}},
		20: {{0.4594968, 0.2301701, 0.1231717, 0.1871604}, {0.0415509, 0.4408721, 0.4901904, 0.0273855},
			{0.0037730, 0.0194845, 0.2593007, 0.7174410}, {0.4951783, 0.3094722, 0.1273362, 0.0680122}},
	}
)

// Check holds the sublayer's input u [2, 4] and the new streams x [2, 4, 4]
// against the known values; it allows them tolerance, their seven decimals
// included.
func (e HyperExample) Check(u, x []float32, tolerance float64) error {
	var errs []error
	check := func(what string, got float32, want float64) {
		if d := math.Abs(float64(got) - want); !(d <= tolerance) {
			errs = append(errs, fmt.Errorf("%d iterations: %s is %.7f, want %.7f", e.C.HCSinkhornIters, what, got, want))
		}
	}
	var mean float64
	for _, p := range hyperPre {
		mean += p * p / 4
	}
	for t := range 2 {
		for j, p := range hyperPre {
			check(fmt.Sprintf("normed pre[%d]", j), u[t*4+j], p/math.Sqrt(mean+e.C.RMSNormEps))
		}
		for j, row := range hyperComb[e.C.HCSinkhornIters] {
			for k, w := range row { // x'_k = post_k·y + Σ_j C_jk·e_j
				check(fmt.Sprintf("C[%d][%d] of token %d", j, k, t), x[t*16+k*4+j], w+float64(t)*hyperPost[k])
			}
		}
	}
	return errors.Join(errs...)
}
