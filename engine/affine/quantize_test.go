package affine

import (
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"assay/engine/tensor"
)

// group returns a group of 32 weights by index.
func group(f func(i int) float32) []float32 {
	x := make([]float32, 32)
	for i := range x {
		x[i] = f(i)
	}
	return x
}

// Section 1.6 of the specification mlx-affine.md, and the full group of FP4 values.
func TestWorkedExamples(t *testing.T) {
	ramp := group(func(i int) float32 { return float32(i-16) / 16 })
	negative := group(func(i int) float32 { return -0.5 - float32(i)/64 })
	fp4 := group(func(i int) float32 { return tensor.E2M1ToFloat32(byte(i%16)) * 0x1p-7 })
	for _, c := range []struct {
		name        string
		enc         Encoder
		x           []float32
		bits        int
		scale, bias uint16
		codes       string // how the packed bytes start
	}{
		{"ramp", GPU, ramp, 4, 0x3e00, 0xbf80, "102132435465768798a9bacbdcedfeff"},
		{"ramp", CPU, ramp, 4, 0x3e00, 0xbf80, "002122434465668788a9aacbccedeeff"},
		{"ramp", GPU, ramp, 8, 0x3bf8, 0xbf80, "00081119"},
		{"ramp", CPU, ramp, 8, 0x3bf8, 0xbf80, "00081019"},
		{"negative", GPU, negative, 4, 0x3d86, 0xbf7c, "77776666555545443433232212110100"},
		{"negative", CPU, negative, 4, 0x3d06, 0xbf7c, "efdecdbcabaa99887766554433221100"},
		{"FP4", GPU, fp4, 4, tensor.BF16FromFloat32(-0.75 * 0x1p-7), tensor.BF16FromFloat32(6 * 0x1p-7), ""},
		{"FP4", CPU, fp4, 4, tensor.BF16FromFloat32(-0.75 * 0x1p-7), tensor.BF16FromFloat32(6 * 0x1p-7), ""},
	} {
		m, err := Quantize(Params{c.bits, 32}, c.enc, c.x, 1, 32)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(m.Codes); !strings.HasPrefix(got, c.codes) {
			t.Errorf("%s, %d bits, %v: codes %s, want %s", c.name, c.bits, c.enc, got, c.codes)
		}
		if m.Scales[0] != c.scale || m.Biases[0] != c.bias {
			t.Errorf("%s, %d bits, %v: scale %#04x, bias %#04x, want %#04x, %#04x",
				c.name, c.bits, c.enc, m.Scales[0], m.Biases[0], c.scale, c.bias)
		}
		if c.name != "FP4" {
			continue
		}
		codes := make([]uint8, 32)
		Unpack(codes, 4, m.Codes)
		if codes[7] != 0 || codes[15] != 15 || codes[0] != 8 || codes[8] != 8 {
			t.Errorf("FP4, %v: 6, −6, 0, −0 have codes %d, %d, %d, %d, want 0, 15, 8, 8",
				c.enc, codes[7], codes[15], codes[0], codes[8])
		}
		w := make([]float32, 32)
		m.DecodeRow(w, 0)
		if w[7] != 6*0x1p-7 || w[15] != -5.25*0x1p-7 || w[0] != 0 {
			t.Errorf("FP4, %v: 6, −6, 0 decode to %v, %v, %v of 2^-7", c.enc, w[7]*128, w[15]*128, w[0]*128)
		}
	}
}

// Section 1.4: what the formula gives where it is degenerate.
func TestEdgeCases(t *testing.T) {
	const leastBits = 0x33d6bf95 // the float32 nearest 1e-7
	least := math.Float32frombits(leastBits)
	constant := func(c float32) []float32 { return group(func(int) float32 { return c }) }
	minusZero := math.Float32frombits(1 << 31)
	nearLeast := func(c float32) float32 { return c / float32(math.Round(float64(c/-least))) }
	for _, c := range []struct {
		name        string
		enc         Encoder
		x           []float32
		bits        int
		scale, bias float32
	}{
		{"zeros", GPU, constant(0), 4, -least, 0},
		{"zeros", CPU, constant(0), 4, -least, 0},
		{"minus zeros", GPU, constant(minusZero), 8, -least, 0},
		{"minus zeros", CPU, constant(minusZero), 8, -least, 0},
		{"constant 3", GPU, constant(3), 4, nearLeast(3), 3},
		{"constant 3", CPU, constant(3), 4, nearLeast(3), 3},
		{"constant -3", GPU, constant(-3), 4, 3. / 15, -3},
		{"constant -3", CPU, constant(-3), 4, nearLeast(-3), -3},
		{"under half the least scale", GPU, group(func(i int) float32 { return float32(i-16) * 0x1p-29 }), 4, least, 0},
		{"under half the least scale", CPU, group(func(i int) float32 { return float32(i-16) * 0x1p-29 }), 4, least, 0},
	} {
		codes := []uint8(strings.Repeat("x", 32))
		s, z, err := QuantizeGroup(codes, c.bits, c.enc, c.x)
		if err != nil {
			t.Fatal(err)
		}
		if s != c.scale || math.Float32bits(z) != math.Float32bits(c.bias) {
			t.Errorf("%s, %v: scale %v, bias %v, want %v, %v", c.name, c.enc, s, z, c.scale, c.bias)
		}
		if strings.Trim(string(codes), "\x00") != "" {
			t.Errorf("%s, %v: codes %v, want all 0", c.name, c.enc, codes)
		}
	}
	if got := tensor.BF16FromFloat32(-least); got != 0xb3d7 {
		t.Errorf("least scale is stored as %#04x, want 0xb3d7", got)
	}
	if got := tensor.F16FromFloat32(-least); got != 0x8002 {
		t.Errorf("least scale is stored in F16 as %#04x, want 0x8002", got)
	}
	if least != 1e-7 {
		t.Errorf("1e-7 is %#08x", math.Float32bits(1e-7))
	}
}

func TestQuantizeRefuses(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	ok := func(int) float32 { return 0.5 }
	at := func(i int, v float32) []float32 {
		x := group(ok)
		x[i] = v
		return x
	}
	for _, c := range []struct {
		x    []float32
		want string
	}{
		{at(3, nan), "affine: weight 3 is NaN"},
		{at(31, math.Float32frombits(0xffc00001)), "affine: weight 31 is NaN"},
		{at(0, inf), "affine: weight 0 is +Inf"},
		{at(7, -inf), "affine: weight 7 is -Inf"},
		{group(func(int) float32 { return -inf }), "affine: weight 0 is -Inf"},
		{group(func(i int) float32 { return float32(i*2-31) / 31 * math.MaxFloat32 }),
			"affine: weights from -3.4028235e+38 to 3.4028235e+38 have no finite scale"},
		{group(func(int) float32 { return 1e32 }), "affine: weights from 1e+32 to 1e+32 have no finite scale"},
	} {
		for _, enc := range Encoders() {
			if enc > CPU && c.x[0] == 1e32 {
				continue // a constant is stored
			}
			if _, _, err := QuantizeGroup(make([]uint8, 32), 4, enc, c.x); err == nil || err.Error() != c.want {
				t.Errorf("%v: error %v, want %s", enc, err, c.want)
			}
		}
	}
	mustPanic(t, func() { QuantizeGroup(make([]uint8, 31), 4, GPU, group(ok)) })
	mustPanic(t, func() { QuantizeGroup(make([]uint8, 32), 7, GPU, group(ok)) })
	mustPanic(t, func() { QuantizeGroup(make([]uint8, 32), 4, 5, group(ok)) })
	mustPanic(t, func() { QuantizeGroup(nil, 4, GPU, nil) })
}

// What holds for every group of BF16 weights, by section 1.3: the bias is a weight
// or 0 and is stored exactly, codes fit, and the error keeps the composite bound
//
//	|s·q + z − x| ≤ (1 + n·2^-9)·|s|
//
// since x is within one unrounded step s' of its code (a whole one where the far
// end is clamped) and |s − s'| ≤ 2^-9·|s'|. Against the stored s that is, to first
// order, (1 + n·2^-9)·(1 + 2^-9), and float32 adds q·2^-23 or so.
func TestErrorBound(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 5))
	for _, f := range families {
		if f.name == "any bits" || f.name == "Gaussian float32" || f.name == "FP8" {
			continue // not BF16, or so wide that one group holds all scales
		}
		for range 300 {
			x := make([]float32, 64)
			f.fill(r, x)
			for _, bits := range widths {
				for _, enc := range []Encoder{GPU, CPU} {
					checkBound(t, f.name, bits, enc, x)
				}
			}
		}
	}
}

func checkBound(t *testing.T, name string, bits int, enc Encoder, x []float32) {
	t.Helper()
	codes := make([]uint8, len(x))
	s32, z32, err := QuantizeGroup(codes, bits, enc, x)
	if err != nil {
		t.Fatal(err)
	}
	s, z, n := float64(bf16(s32)), float64(bf16(z32)), float64(int(1)<<bits-1)
	isWeight := z32 == 0
	bound := (1 + n/512) * (1 + 1./256) * math.Abs(s)
	for i, v := range x {
		isWeight = isWeight || v == z32
		if float64(codes[i]) > n {
			t.Fatalf("%s, %d bits, %v: code %d", name, bits, enc, codes[i])
		}
		if d := math.Abs(s*float64(codes[i]) + z - float64(v)); d > bound {
			t.Fatalf("%s, %d bits, %v: weight %v is off by %v, bound %v (scale %v)", name, bits, enc, v, d, bound, s)
		}
	}
	if !isWeight || bf16(z32) != z32 {
		t.Fatalf("%s, %d bits, %v: bias %v is neither 0 nor a weight", name, bits, enc, z32)
	}
}
