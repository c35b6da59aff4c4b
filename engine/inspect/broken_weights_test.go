package inspect

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"assay/engine/affine"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/tensor"
)

// floatsOf returns scales as numbers.
func floatsOf(b *tensor.Tensor) []float32 {
	v, _ := b.Float32s() // of BF16: no error
	return v
}

func setBF16(b *tensor.Tensor, v []float32) {
	words(b.Data, func(i int, _ uint16) uint16 { return tensor.BF16FromFloat32(v[i]) })
}

// onWeight changes the packed weight of the experts.
func onWeight(name string, change func(data []byte)) func(*testing.T, folder) {
	return editing(func(all map[string]*tensor.Tensor) { change(all[name+weightSuffix].Data) })
}

var brokenWeights = []broken{
	{name: "AWQ's order of nibbles", from: grid, source: true, spoil: onWeight(experts, func(b []byte) { nibbles(b, [8]int{0, 2, 4, 6, 1, 3, 5, 7}) }),
		want: one("X02", Error, experts, "AWQ's order of nibbles (0,2,4,6,1,3,5,7)")},
	{name: "big-endian words", from: grid, source: true, spoil: onWeight(qb, bigEndian), want: one("X02", Error, qb, "big-endian words")},
	{name: "the high half of each byte first in mxfp4", from: native, source: true, spoil: onWeight(experts, func(b []byte) { nibbles(b, [8]int{1, 0, 3, 2, 5, 4, 7, 6}) }),
		want: one("X02", Error, experts, "the high half")},
	{name: "zero points for biases", from: grid, source: true, spoil: editing(func(all map[string]*tensor.Tensor) {
		s, z := floatsOf(all[experts+scalesSuffix]), floatsOf(all[experts+biasesSuffix])
		for i := range z {
			z[i] /= -s[i]
		}
		setBF16(all[experts+biasesSuffix], z)
	}), want: one("X03", Error, experts, "zero points")},
	{name: "scales of the other sign", from: grid, source: true, spoil: editing(func(all map[string]*tensor.Tensor) {
		words(all[qb+scalesSuffix].Data, func(_ int, v uint16) uint16 { return v ^ 0x8000 })
	}), want: one("X03", Error, qb, "scales have the other sign")},
	{name: "the min/max formula", from: grid, source: true, spoil: minMax,
		want: one("X04", Note, "routed-expert, affine 4-bit g32", "(max − min)/n")},
	{name: "experts in another order", from: grid, source: true, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{weightSuffix, scalesSuffix, biasesSuffix} {
			b := all[experts+suffix].Data
			n := len(b) / 8
			copy(b, append(slices.Clone(b[n:]), b[:n]...))
		}
	}), want: one("X05", Error, experts, "another expert")},
	{name: "gate and up swapped", from: native, source: true, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{weightSuffix, scalesSuffix} {
			a, b := all["model.layers.1.ffn.switch_mlp.gate_proj"+suffix], all["model.layers.1.ffn.switch_mlp.up_proj"+suffix]
			a.Data, b.Data = b.Data, a.Data
		}
	}), want: []wanted{{"X05", Error, "model.layers.1.ffn.switch_mlp.", "w1 where w3 belongs"}, {"X05", Error, "model.layers.1.ffn.switch_mlp.", "w3 where w1 belongs"}}},
	{name: "noise for weights", from: grid, source: true, spoil: onWeight(qb, func(b []byte) {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}), want: one("S17", Error, qb, "weights off by")},
	{name: "mxfp4 rounded anew", from: native, source: true, spoil: editing(roundAnew), want: one("S17", Warning, experts, "rounded anew")},
	{name: "a norm of another model", from: grid, source: true, spoil: editing(func(all map[string]*tensor.Tensor) { all["model.norm.weight"].Data = bf16(256, 3) }),
		want: one("S17", Error, "model.norm", "weights off by")},
	{name: "a NaN among the scales", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		words(all[qb+scalesSuffix].Data, func(int, uint16) uint16 { return 0x7fc0 })
	}), want: one("S18", Error, qb, "not finite")},
	{name: "scales of zero", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) { clear(all[qb+scalesSuffix].Data) }),
		want: one("S18", Warning, qb, "scale of zero")},
	{name: "scale byte 255", from: native, spoil: editing(func(all map[string]*tensor.Tensor) {
		b := all[experts+scalesSuffix].Data
		for i := range b {
			b[i] = 255
		}
	}), want: one("S18", Error, experts, "scale byte 255")},
	{name: "an E4M3 code of NaN", from: native, spoil: editing(func(all map[string]*tensor.Tensor) {
		b := all[qb+weightSuffix].Data
		for i := range b {
			b[i] = 0x7f
		}
	}), want: one("S18", Error, qb, "E4M3 code of NaN")},
	{name: "an infinite norm", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		all["model.norm.weight"].Data = bf16(256, float32(math.Inf(1)))
	}), want: one("S18", Error, "model.norm", "not finite")},
}

// roundAnew does what mx.quantize did before 0.32.2 to blocks whose largest
// weight is 4: a scale of half the size, and 4 clipped to 3.
func roundAnew(all map[string]*tensor.Tensor) {
	b, s := all[experts+weightSuffix].Data, all[experts+scalesSuffix].Data
	const four, negative = 6, 8
	double := func(code byte) byte {
		return tensor.E2M1FromFloat32(2*tensor.E2M1ToFloat32(code)) | code&negative
	}
	for g := range s {
		block := b[16*g:][:16]
		if slices.ContainsFunc(block, func(v byte) bool { return v&7 > four || v>>4&7 > four }) {
			continue
		}
		s[g]--
		for i, v := range block {
			block[i] = double(v&15) | double(v>>4)<<4
		}
	}
}

// minMax makes the experts anew with s = (max − min)/n, z = min.
func minMax(t *testing.T, f folder) {
	src := sourceOf(t)
	p := affine.Params{Bits: 4, GroupSize: 32}
	params, err := dsv4Params(checkpointtest.TinyConfig())
	if err != nil {
		t.Fatal(err)
	}
	f.edit(t, func(all map[string]*tensor.Tensor) {
		at := map[string]int{}
		for _, q := range params {
			if q.Class != tensor.RoutedExpert || q.MTP {
				continue
			}
			last := map[string]string{"w1": "gate", "w2": "down", "w3": "up"}[projection(q.Name)]
			stem := fmt.Sprintf("model.layers.%d.ffn.switch_mlp.%s_proj", q.Layer, last)
			w, err := src.ref.Float32(q.Name)
			if err != nil {
				t.Fatal(err)
			}
			codes, scales, biases := all[stem+weightSuffix].Data, all[stem+scalesSuffix].Data, all[stem+biasesSuffix].Data
			for ; len(w) > 0; w = w[32:] {
				g := at[stem]
				at[stem]++
				lo, hi := slices.Min(w[:32]), slices.Max(w[:32])
				s := (hi - lo) / 15
				group := make([]uint8, 32)
				for i, v := range w[:32] {
					group[i] = uint8(math.RoundToEven(float64((v - lo) / s)))
				}
				copy(codes[16*g:], affine.Pack(p.Bits, group))
				binary.LittleEndian.PutUint16(scales[2*g:], tensor.BF16FromFloat32(s))
				binary.LittleEndian.PutUint16(biases[2*g:], tensor.BF16FromFloat32(lo))
			}
		}
	})
}
