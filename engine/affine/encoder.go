package affine

import "fmt"

// Encoder is a way to choose scale, bias and codes of a group. All write the same
// format, so what loads the bundle of one loads those of the others. Two are MLX's
// own and two, since they differ where a weight lies halfway between two codes and
// in groups without a weight of 0 or more: no bundle is "bit-identical to MLX"
// without naming its encoder. The other three keep to no release of MLX but lose
// less, or nothing, by the error of s·q + z before a decoder rounds it.
type Encoder int

const (
	// GPU is what MLX's Metal and CUDA kernels do, and so what nearly every
	// published bundle holds: rounds half away from zero, and the largest
	// weight of a group counts as 0 at least.
	// Source: ml-explore/mlx mlx/backend/metal/kernels/quantized.h, affine_quantize.
	GPU Encoder = iota
	// CPU is what MLX does on its CPU device: rounds half to even, and takes
	// the largest weight as it is.
	// Source: ml-explore/mlx mlx/backend/cpu/quantized.cpp, quantize.
	CPU
	// Recode takes scale and bias as GPU does, rounds both to BF16, and then
	// chooses each code as the nearest for the pair that is stored:
	//
	//	q[i] = clamp(rnd((x[i] − z)/s), 0, 2^bits − 1)
	//
	// in float64, rnd to nearest, half away from zero. MLX chooses codes before
	// it rounds the scale, by which a code may drift 2^bits·2^-9 of a step.
	Recode
	// Search is least squares: of the pairs (s, z) of BF16 values that it tries
	// it keeps the one with the least
	//
	//	Σ (s·q[i] + z − x[i])²   q[i] as Recode chooses it
	//
	// in float64, the first of equals. It tries Lattice's pair and Recode's, so
	// it is exact where the one is and never worse than the other. It takes some
	// 50 times as long as these, except where it is exact.
	Search
	// Lattice is exact or it errs: each weight decodes to itself bit for bit, −0
	// to 0. With d the largest power of two of which all x[i] − min x are
	// multiples,
	//
	//	s = d   z = min x   q[i] = (x[i] − min x)/d
	//
	// It errs on a group that needs more than 2^bits − 1 steps of d, or whose s
	// or z is no BF16 value. A block of FP4 values times one power of two takes
	// at most 24 steps, so groups of 32 of these are exact from 5 bits on.
	Lattice
)

// encoderNames are the names by Encoder.
var encoderNames = [...]string{"mlx-gpu", "mlx-cpu", "recode", "search", "lattice"}

// Encoders returns all encoders, in the order to show them in.
func Encoders() []Encoder { return []Encoder{GPU, CPU, Recode, Search, Lattice} }

// String returns the name that records carry: "mlx-gpu", "mlx-cpu", "recode",
// "search" or "lattice".
func (e Encoder) String() string {
	if e.Validate() != nil {
		return fmt.Sprintf("affine.Encoder(%d)", int(e))
	}
	return encoderNames[e]
}

// Validate reports a value that is none of the encoders.
func (e Encoder) Validate() error {
	if e < 0 || int(e) >= len(encoderNames) {
		return fmt.Errorf("affine: no encoder is numbered %d", int(e))
	}
	return nil
}

// ParseEncoder returns the encoder of that name, as String writes it.
func ParseEncoder(name string) (Encoder, error) {
	for _, e := range Encoders() {
		if name == e.String() {
			return e, nil
		}
	}
	return 0, fmt.Errorf("affine: encoder %q, want %q, %q, %q, %q or %q", name, GPU, CPU, Recode, Search, Lattice)
}
