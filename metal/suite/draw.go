package suite

import (
	"encoding/binary"
	"errors"
	"math"

	"assay/engine/dsv4"
	"assay/engine/tensor"
)

// u is the relative rounding of float32, and expMetal that of precise::exp, 4 ulp.
const (
	u        = 0x1p-24
	expMetal = 8 * u
)

// modelConfig is a small model, of which a case sets the sizes that matter to it.
func modelConfig() *dsv4.Config {
	return &dsv4.Config{
		VocabSize: 40, HiddenSize: 32, NumHiddenLayers: 1, NumAttentionHeads: 4, NumKeyValueHeads: 1, HeadDim: 80, QKRopeHeadDim: 16,
		QLoraRank: 16, OGroups: 2, OLoraRank: 8, NRoutedExperts: 8, NSharedExperts: 1, NumExpertsPerTok: 2, MoEIntermediateSize: 16,
		SlidingWindow: 8, CompressRatios: []int{4}, IndexNHeads: 4, IndexHeadDim: 32, IndexTopK: 3,
		HCMult: 4, HCSinkhornIters: 20, HCEps: 1e-6, RMSNormEps: 1e-3, SwigluLimit: 10, RoutedScalingFactor: 1.5,
		RopeTheta: 1e4, CompressRopeTheta: 1.6e5,
		RopeScaling: dsv4.RopeScaling{Type: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 64, BetaFast: 32, BetaSlow: 1},
	}
}

// normal returns n normal numbers of the given spread.
func (b *Bench) normal(n int, spread float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(b.Rand.NormFloat64() * spread)
	}
	return v
}

// dyadic returns n multiples of unit, a power of two, of up to most units.
func (b *Bench) dyadic(n, most int, unit float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(float64(b.Rand.IntN(2*most+1)-most) * unit)
	}
	return v
}

// floatMatrix is a matrix stored as F32.
func floatMatrix(name string, rows, cols int, v []float32) *tensor.Matrix {
	m := &tensor.Matrix{Name: name, Rows: rows, Cols: cols, Format: tensor.PlainFormat(tensor.F32), Codes: make([]byte, 4*len(v))}
	for i, x := range v {
		binary.LittleEndian.PutUint32(m.Codes[4*i:], math.Float32bits(x))
	}
	return m
}

// Cached puts v on both sides as cached elements, which Metal stores in the
// activations' type; v is rounded to it first.
func (b *Bench) Cached(v []float32) (Pair, error) {
	p := Pair{n: len(v)}
	b.round(v)
	var err1, err2, err3 error
	p.CPU, err1 = b.CPU.Wrap(append([]float32(nil), v...))
	p.Metal, err2 = b.Metal.NewArray(len(v))
	words := make([]int32, len(v))
	for i, x := range v {
		words[i] = int32(math.Float32bits(x))
	}
	if b.Activations != "f32" {
		words = make([]int32, (len(v)+1)/2)
		for i, x := range v {
			words[i/2] |= int32(uint32(b.half(x)) << (16 * (i % 2)))
		}
	}
	if err2 == nil {
		err3 = b.Metal.(setInts).SetInts(p.Metal, words)
	}
	return p, errors.Join(err1, err2, err3)
}

// round rounds v to the activations' type.
func (b *Bench) round(v []float32) {
	for i, x := range v {
		switch b.Activations {
		case "f16":
			v[i] = tensor.F16ToFloat32(tensor.F16FromFloat32(x))
		case "bf16":
			v[i] = tensor.BF16ToFloat32(tensor.BF16FromFloat32(x))
		}
	}
}

func (b *Bench) half(x float32) uint16 {
	if b.Activations == "f16" {
		return tensor.F16FromFloat32(x)
	}
	return tensor.BF16FromFloat32(x)
}

// storedOff is by how much x differs as a cached element, at most: F16 has a least
// unit too.
func (b *Bench) storedOff(x float64) float64 {
	off := 2*b.Unit*math.Abs(x) + 0x1p-120
	if b.Activations == "f16" {
		off += 0x1p-25
	}
	return off
}

// ReadCached returns what cached elements hold on both sides.
func (b *Bench) ReadCached(p Pair) (got, want []float32, err error) {
	got, want = make([]float32, p.n), make([]float32, p.n)
	if err := b.CPU.Read(want, p.CPU, 0); err != nil {
		return nil, nil, err
	}
	if b.Activations == "f32" {
		return got, want, b.Metal.Read(got, p.Metal, 0)
	}
	words := make([]int32, (p.n+1)/2)
	if err := b.Metal.ReadInts(words, p.Metal, 0); err != nil {
		return nil, nil, err
	}
	for i := range got {
		h := uint16(uint32(words[i/2]) >> (16 * (i % 2)))
		if b.Activations == "f16" {
			got[i] = tensor.F16ToFloat32(h)
		} else {
			got[i] = tensor.BF16ToFloat32(h)
		}
	}
	return got, want, nil
}
