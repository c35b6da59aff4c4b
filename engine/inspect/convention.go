package inspect

import (
	"encoding/binary"
	"math"
	"slices"

	"assay/engine/affine"
	"assay/engine/tensor"
)

// packing is an order of codes in the words of a row.
type packing struct {
	name  string
	bits  int // it exists for, or 0 for all
	toMLX func(words []byte)
}

// packings are MLX's order, first, and those of other writers.
var packings = []packing{
	{name: "MLX's"},
	{name: "AWQ's order of nibbles (0,2,4,6,1,3,5,7)", bits: 4, toMLX: func(b []byte) { nibbles(b, [8]int{0, 4, 1, 5, 2, 6, 3, 7}) }},
	{name: "AWQ's order of nibbles (0,4,1,5,2,6,3,7)", bits: 4, toMLX: func(b []byte) { nibbles(b, [8]int{0, 2, 4, 6, 1, 3, 5, 7}) }},
	{name: "big-endian words", toMLX: bigEndian},
	{name: "the high half of each byte first", bits: 4, toMLX: func(b []byte) { nibbles(b, [8]int{1, 0, 3, 2, 5, 4, 7, 6}) }},
	{name: "the highest bits of each word first", bits: 4, toMLX: func(b []byte) { nibbles(b, [8]int{7, 6, 5, 4, 3, 2, 1, 0}) }},
}

// nibbles puts, in each word, the nibble at from[i] to place i.
func nibbles(b []byte, from [8]int) {
	for ; len(b) >= 4; b = b[4:] {
		w, out := binary.LittleEndian.Uint32(b), uint32(0)
		for i, k := range from {
			out |= w >> (4 * k) & 15 << (4 * i)
		}
		binary.LittleEndian.PutUint32(b, out)
	}
}

func bigEndian(b []byte) {
	for ; len(b) >= 4; b = b[4:] {
		slices.Reverse(b[:4])
	}
}

// convention is what scale s, bias z and code q mean, with 2^bits codes of which
// half is the middle.
type convention struct {
	name   string
	weight func(s, z, q, half float32) float32
}

// conventions are MLX's, first, and those of other writers.
var conventions = []convention{
	{"scale·code + bias", func(s, z, q, _ float32) float32 { return float32(s*q) + z }},
	{"scale·(code − bias): the biases are zero points", func(s, z, q, _ float32) float32 { return s * (q - z) }},
	{"scale·code − bias: the biases have the other sign", func(s, z, q, _ float32) float32 { return float32(s*q) - z }},
	{"−scale·code + bias: the scales have the other sign", func(s, z, q, _ float32) float32 { return z - float32(s*q) }},
	{"scale·(code − 2^(bits−1)): symmetric codes, biases unused", func(s, _, q, half float32) float32 { return s * (q - half) }},
	{"scale·code + bias with codes in two's complement", func(s, z, q, half float32) float32 {
		if q >= half {
			q -= 2 * half
		}
		return float32(s*q) + z
	}},
	{"code/scale + bias: the scales are reciprocals", func(s, z, q, _ float32) float32 { return q/s + z }},
}

// floats reads a row of scales or biases.
func floats(b []byte, d tensor.DType) []float32 {
	out, err := tensor.Tensor{Info: tensor.Info{DType: d, Shape: []int{len(b) / max(1, d.Size())}}, Data: b}.Float32s()
	if err != nil {
		return nil
	}
	return out
}

// integers reads a row of whole numbers.
func integers(b []byte, d tensor.DType) ([]int64, error) {
	return tensor.Tensor{Info: tensor.Info{DType: d, Shape: []int{len(b) / max(1, d.Size())}}, Data: b}.Int64s()
}

// affineRow is a row of the affine format, taken apart.
type affineRow struct {
	p              affine.Params
	words          []byte
	scales, biases []float32
}

// unpack returns the codes in an order.
func (r affineRow) unpack(p packing, cols int) []uint8 {
	words := r.words
	if p.toMLX != nil {
		words = slices.Clone(words)
		p.toMLX(words)
	}
	codes := make([]uint8, cols)
	affine.Unpack(codes, r.p.Bits, words)
	return codes
}

// decode returns the weights of codes under a convention.
func (r affineRow) decode(codes []uint8, c convention) []float32 {
	out := make([]float32, len(codes))
	half := float32(int(1) << (r.p.Bits - 1))
	for i, q := range codes {
		g := i / r.p.GroupSize
		out[i] = c.weight(r.scales[g], r.biases[g], float32(q), half)
	}
	return out
}

// tolerance is how many scales a weight of a well-made bundle is off by, root
// mean square: rounding alone gives 0.29, MLX's own clamping and BF16 scales
// less than as much again. Under a wrong convention codes differ by several.
const tolerance = 0.75

// fits says whether weights are those of the source but for quantization, of
// which step is the size in each group, and nearer to them than zeros are.
func fits(got, want, step []float32, group int) bool {
	if len(got) != len(want) {
		return false
	}
	off, size, sum := 0.0, 0.0, 0.0
	for i := range got {
		d, s := float64(got[i])-float64(want[i]), float64(step[i/group])
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return false
		}
		off += d * d
		size += s * s
		sum += float64(want[i]) * float64(want[i])
	}
	const flushed = 1e-6 // MLX's smallest scale is 1e-7: finer weights may become zero
	return off <= tolerance*tolerance*size && (off <= 0.64*sum || sum < flushed*flushed*float64(len(want)))
}

// fitting returns the packing and convention under which the row is the
// source's, MLX's own first, and false where none is.
func (r affineRow) fitting(want []float32) (packing, convention, bool) {
	for _, p := range packings {
		if p.bits != 0 && p.bits != r.p.Bits {
			continue
		}
		codes := r.unpack(p, len(want))
		for _, c := range conventions {
			if fits(r.decode(codes, c), want, r.step(c), r.p.GroupSize) {
				return p, c, true
			}
		}
	}
	return packing{}, convention{}, false
}

// step returns by how much a weight changes with its code, which is the
// scale but for reciprocals.
func (r affineRow) step(c convention) []float32 {
	out := make([]float32, len(r.scales))
	for g, s := range r.scales {
		out[g] = c.weight(s, 0, 1, 0) - c.weight(s, 0, 0, 0)
	}
	return out
}
