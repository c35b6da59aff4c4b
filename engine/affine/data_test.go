package affine

import (
	"math"
	"math/rand/v2"

	"assay/engine/tensor"
)

// gaussian returns n weights of standard deviation 0.02, rounded to BF16.
func gaussian(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	w := make([]float32, n)
	for i := range w {
		w[i] = bf16(float32(r.NormFloat64() * 0.02))
	}
	return w
}

// fp4Blocks returns Gaussian weights in FP4, as the research note mlx-analysis.md
// makes them in 5.2: blocks of 32 with the scale 2^ceil(log2(largest/6)).
func fp4Blocks(seed uint64, n int) []float32 {
	w := gaussian(seed, n)
	for block := w; len(block) > 0; block = block[32:] {
		lo, hi := extremes(block[:32])
		scale := float32(math.Exp2(math.Ceil(math.Log2(float64(max(-lo, hi) / 6)))))
		for i, v := range block[:32] {
			block[i] = tensor.E2M1ToFloat32(tensor.E2M1FromFloat32(v/scale)) * scale
		}
	}
	return w
}

// fp8 returns Gaussian weights in E4M3 with one scale, as a 128x128 block has.
func fp8(seed uint64, n int) []float32 {
	w := gaussian(seed, n)
	for i, v := range w {
		w[i] = tensor.E4M3ToFloat32(tensor.E4M3FromFloat32(v*0x1p12)) * 0x1p-12
	}
	return w
}

// skewed returns squares of Gaussian weights less a little, rounded to BF16: most
// lie at one end of their range.
func skewed(seed uint64, n int) []float32 {
	w := gaussian(seed, n)
	for i, v := range w {
		w[i] = bf16(v*v - 0x1p-13)
	}
	return w
}

// squaredError returns Σ (s·q + z − x)² in float64.
func squaredError(codes []uint8, scale, bias float32, x []float32) (sum float64) {
	for i, v := range x {
		d := float64(scale)*float64(codes[i]) + float64(bias) - float64(v)
		sum += d * d
	}
	return sum
}

// relativeError returns Σ (ŵ − w)² over Σ w² of w stored as p by enc, decoded.
func relativeError(p Params, enc Encoder, w []float32) (float64, error) {
	m, err := Quantize(p, enc, w, 1, len(w))
	if err != nil {
		return 0, err
	}
	decoded := make([]float32, len(w))
	m.DecodeRow(decoded, 0)
	var errors, squares float64
	for i, v := range w {
		d := float64(decoded[i]) - float64(v)
		errors += d * d
		squares += float64(v) * float64(v)
	}
	return errors / squares, nil
}
