package inspect

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"assay/engine/affine"
	"assay/engine/tensor"
)

// quantized returns a row as MLX quantizes it, and the row.
func quantized(t *testing.T, p affine.Params, seed uint64) (affineRow, []float32) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 9))
	w := make([]float32, 512)
	for i := range w {
		w[i] = tensor.BF16ToFloat32(tensor.BF16FromFloat32(float32(r.NormFloat64()) * 0.03))
	}
	m, err := affine.Quantize(p, affine.GPU, w, 1, len(w))
	if err != nil {
		t.Fatal(err)
	}
	row := affineRow{p: p, words: m.Codes}
	for g := range m.Scales {
		row.scales = append(row.scales, tensor.BF16ToFloat32(m.Scales[g]))
		row.biases = append(row.biases, tensor.BF16ToFloat32(m.Biases[g]))
	}
	return row, w
}

// Every row that MLX makes fits by MLX's own order and convention, at every
// width and group size, and never fits another row.
func TestMLXFitsItself(t *testing.T) {
	for _, bits := range []int{2, 3, 4, 5, 6, 8} {
		for _, group := range []int{32, 64, 128} {
			row, w := quantized(t, affine.Params{Bits: bits, GroupSize: group}, 1)
			p, c, ok := row.fitting(w)
			if !ok || p.name != packings[0].name || c.name != conventions[0].name {
				t.Errorf("%d bits, group %d: fits as %q, %q, %v", bits, group, p.name, c.name, ok)
			}
			_, other := quantized(t, row.p, 2)
			if p, c, ok := row.fitting(other); ok {
				t.Errorf("%d bits, group %d: another row fits as %q, %q", bits, group, p.name, c.name)
			}
		}
	}
}

// Each other order of codes is told from MLX's.
func TestPackingsAreTold(t *testing.T) {
	for i, p := range packings[1:] {
		bits := max(p.bits, 4)
		row, w := quantized(t, affine.Params{Bits: bits, GroupSize: 32}, 3)
		// What toMLX undoes: it is a permutation, so applying it until it comes
		// round again, and stopping one before, is its inverse.
		words := slices.Clone(row.words)
		for {
			next := slices.Clone(words)
			p.toMLX(next)
			if slices.Equal(next, row.words) {
				break
			}
			words = next
		}
		row.words = words
		got, c, ok := row.fitting(w)
		if !ok || got.name != p.name || c.name != conventions[0].name {
			t.Errorf("packing %d, %q: fits as %q, %q, %v", i+1, p.name, got.name, c.name, ok)
		}
	}
	b := []byte{0x10, 0x32, 0x54, 0x76} // nibbles 0 to 7
	nibbles(b, [8]int{0, 2, 4, 6, 1, 3, 5, 7})
	if got := fmt.Sprintf("%x", b); got != "20643175" {
		t.Errorf("nibbles are %s", got)
	}
}

// Each other meaning of scale and bias is told from MLX's.
func TestConventionsAreTold(t *testing.T) {
	for i, spoil := range []func(r *affineRow){
		1: func(r *affineRow) {
			for g := range r.biases {
				r.biases[g] /= -r.scales[g]
			}
		},
		2: func(r *affineRow) { negate(r.biases) },
		3: func(r *affineRow) { negate(r.scales) },
		5: func(r *affineRow) { // code 0 is the middle, and the bias lies there
			for g := range r.biases {
				r.biases[g] += 8 * r.scales[g]
			}
			for k := range r.words {
				r.words[k] ^= 0x88
			}
		},
		6: func(r *affineRow) {
			for g := range r.scales {
				r.scales[g] = 1 / r.scales[g]
			}
		},
	} {
		if spoil == nil {
			continue
		}
		row, w := quantized(t, affine.Params{Bits: 4, GroupSize: 32}, 4)
		spoil(&row)
		p, c, ok := row.fitting(w)
		if !ok || p.name != packings[0].name || c.name != conventions[i].name {
			t.Errorf("%q: fits as %q, %q, %v", conventions[i].name, p.name, c.name, ok)
		}
	}
	// Symmetric codes, as a quantizer without biases makes them.
	row, w := quantized(t, affine.Params{Bits: 8, GroupSize: 32}, 5)
	codes := make([]uint8, len(w))
	for g := range row.scales {
		most := float32(0)
		for _, v := range w[32*g:][:32] {
			most = max(most, v, -v)
		}
		row.scales[g], row.biases[g] = most/127, 0
		for k, v := range w[32*g:][:32] {
			codes[32*g+k] = uint8(int(v/row.scales[g]+128.5) & 255)
		}
	}
	row.words = affine.Pack(8, codes)
	if _, c, ok := row.fitting(w); !ok || !strings.Contains(c.name, "symmetric") {
		t.Errorf("symmetric codes fit as %q, %v", c.name, ok)
	}
}

func negate(v []float32) {
	for i := range v {
		v[i] = -v[i]
	}
}
