package affine

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"

	"assay/engine/tensor"
)

// goldenInput is the matrix [8, 512] of section 1.12 of the specification
// mlx-affine.md, before it is rounded to a type: uniform noise, FP4 values,
// negative only, positive only, a constant, and noise near the least scale.
func goldenInput() []float32 {
	w := make([]float32, 8*512)
	state := uint32(1)
	for i := range w {
		state = state*1664525 + 1013904223
		v := float32(state>>8&0xffff)/65536 - 0.5
		switch row, column := i/512, i%512; {
		case row == 2 || row == 3:
			v = tensor.E2M1ToFloat32(byte(state>>28)) / 128
		case row == 4:
			v = -abs(v) - 0.25
		case row == 5:
			v = abs(v) + 0.25
		case row == 6 && column < 256:
			v = -0.375
		case row == 6:
			v = 0
		case row == 7:
			v *= 0x1p-20
		}
		w[i] = v
	}
	return w
}

// golden is one row of the table: CRC-32/IEEE of the bytes of MLX's tensors. The
// biases are the same under both encoders.
type golden struct {
	params     Params
	gpuWeight  uint32
	gpuScales  uint32
	biases     uint32
	cpuWeight  uint32
	cpuScales  uint32
	inputBytes uint32 // of the input, in the type of scales and biases
}

// Table of section 1.12, bfloat16. Apart from these, CPU was compared with
// mx.quantize of MLX 0.32.4 on Linux, 162 cases (9 kinds of data, every width and
// group size) of 2 million BF16 weights each: all bytes equal. GPU has not
// been run on a Mac; its column is that of an emulated Metal kernel.
var goldens = []golden{
	{Params{2, 32}, 0x3c71df23, 0x533289f8, 0x457de4e9, 0x3aaec5e2, 0x38d934ac, 0x7e31bbbc},
	{Params{2, 64}, 0x240d5ea8, 0x43ce37d9, 0xe7237c89, 0xea3d1266, 0xfcd65d41, 0x7e31bbbc},
	{Params{2, 128}, 0x053fc8b2, 0xf301dc9c, 0x4b05f088, 0x8814ba44, 0x2e891fe6, 0x7e31bbbc},
	{Params{3, 32}, 0xfe6f958e, 0x8f0dad7e, 0x457de4e9, 0x62639c8b, 0x0cc5a818, 0x7e31bbbc},
	{Params{3, 64}, 0x3e1b9b4a, 0x1162ce75, 0xe7237c89, 0xe6383754, 0x8d5795c6, 0x7e31bbbc},
	{Params{3, 128}, 0x8d630a4a, 0x2881b806, 0x4b05f088, 0xee17ed21, 0xe466011a, 0x7e31bbbc},
	{Params{4, 32}, 0xa96ef38e, 0x1d2b6df5, 0x457de4e9, 0x0af38bff, 0xed5ac329, 0x7e31bbbc},
	{Params{4, 64}, 0x14d17177, 0x0f40702d, 0xe7237c89, 0x414cd5f8, 0xb6fab148, 0x7e31bbbc},
	{Params{4, 128}, 0xf467cc2d, 0x5ae03880, 0x4b05f088, 0xf519dfa2, 0x2d801be0, 0x7e31bbbc},
	{Params{5, 32}, 0xaabbc860, 0xc08d1825, 0x457de4e9, 0x86c32059, 0x0d7f1b2c, 0x7e31bbbc},
	{Params{5, 64}, 0x73d94671, 0x7b182eec, 0xe7237c89, 0x6bf8942a, 0x65e49a81, 0x7e31bbbc},
	{Params{5, 128}, 0xb90f0e2d, 0x5ea45bcc, 0x4b05f088, 0x9292591f, 0x1ed0a799, 0x7e31bbbc},
	{Params{6, 32}, 0x61f47b44, 0x41649538, 0x457de4e9, 0x1e477ef9, 0x56aedce2, 0x7e31bbbc},
	{Params{6, 64}, 0x2069dc85, 0xa160b6fd, 0xe7237c89, 0x14e9ab8b, 0xcb04c416, 0x7e31bbbc},
	{Params{6, 128}, 0x3839e3da, 0x8faca5fe, 0x4b05f088, 0xa15c07b0, 0xa1978088, 0x7e31bbbc},
	{Params{8, 32}, 0x3d07ec5b, 0x163e7387, 0x457de4e9, 0x8f66b6f5, 0x4a7b1851, 0x7e31bbbc},
	{Params{8, 64}, 0x34e34058, 0xdba07c91, 0xe7237c89, 0xfd91b01f, 0xd82866e7, 0x7e31bbbc},
	{Params{8, 128}, 0x03bf4221, 0x8c664d24, 0x4b05f088, 0x7043efc7, 0x874fdadb, 0x7e31bbbc},
}

func crcUint16(v []uint16) uint32 {
	var b []byte
	for _, u := range v {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return crc32.ChecksumIEEE(b)
}

func TestGoldenBF16(t *testing.T) {
	w := goldenInput()
	input := make([]uint16, len(w))
	for i, v := range w {
		input[i] = tensor.BF16FromFloat32(v)
		w[i] = tensor.BF16ToFloat32(input[i])
	}
	if len(goldens) != 18 {
		t.Fatalf("%d goldens, want 18", len(goldens))
	}
	for _, g := range goldens {
		if got := crcUint16(input); got != g.inputBytes {
			t.Fatalf("input has CRC %08x, want %08x", got, g.inputBytes)
		}
		for _, enc := range []Encoder{GPU, CPU} {
			wantWeight, wantScales := g.gpuWeight, g.gpuScales
			if enc == CPU {
				wantWeight, wantScales = g.cpuWeight, g.cpuScales
			}
			m, err := Quantize(g.params, enc, w, 8, 512)
			if err != nil {
				t.Fatal(err)
			}
			weight, scales, biases := crc32.ChecksumIEEE(m.Codes), crcUint16(m.Scales), crcUint16(m.Biases)
			if weight != wantWeight || scales != wantScales || biases != g.biases {
				t.Errorf("%v %v: weight %08x, scales %08x, biases %08x, want %08x, %08x, %08x",
					g.params, enc, weight, scales, biases, wantWeight, wantScales, g.biases)
			}
		}
	}
}

// The codes are those of the unrounded scale, so QuantizeGroup also gives what
// MLX stores for F16 and F32 weights.
func TestGoldenF16AndF32(t *testing.T) {
	f32Bytes := func(v float32) []byte { return binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)) }
	f16Bytes := func(v float32) []byte { return binary.LittleEndian.AppendUint16(nil, tensor.F16FromFloat32(v)) }
	for _, c := range []struct {
		name  string
		round func(float32) float32
		bytes func(float32) []byte
		want  golden
	}{
		{"f16", func(v float32) float32 { return tensor.F16ToFloat32(tensor.F16FromFloat32(v)) }, f16Bytes,
			golden{Params{4, 32}, 0x794ec0f6, 0x2e092432, 0xbcacb5b9, 0xb844a17d, 0x3ff5a4bc, 0x69a23e95}},
		{"f32", func(v float32) float32 { return v }, f32Bytes,
			golden{Params{4, 32}, 0x53550f61, 0xdbc09264, 0xd6a76b87, 0xdf64946d, 0x8588d4f2, 0}},
	} {
		w := goldenInput()
		var input []byte
		for i := range w {
			w[i] = c.round(w[i])
			input = append(input, c.bytes(w[i])...)
		}
		if got := crc32.ChecksumIEEE(input); c.want.inputBytes != 0 && got != c.want.inputBytes {
			t.Fatalf("%s: input has CRC %08x, want %08x", c.name, got, c.want.inputBytes)
		}
		for _, enc := range []Encoder{GPU, CPU} {
			wantWeight, wantScales := c.want.gpuWeight, c.want.gpuScales
			if enc == CPU {
				wantWeight, wantScales = c.want.cpuWeight, c.want.cpuScales
			}
			var weight, scales, biases []byte
			codes := make([]uint8, 32)
			for at := 0; at < len(w); at += 32 {
				s, z, err := QuantizeGroup(codes, 4, enc, w[at:at+32])
				if err != nil {
					t.Fatal(err)
				}
				weight = append(weight, Pack(4, codes)...)
				scales, biases = append(scales, c.bytes(s)...), append(biases, c.bytes(z)...)
			}
			gw, gs, gb := crc32.ChecksumIEEE(weight), crc32.ChecksumIEEE(scales), crc32.ChecksumIEEE(biases)
			if gw != wantWeight || gs != wantScales || gb != c.want.biases {
				t.Errorf("%s %v: weight %08x, scales %08x, biases %08x, want %08x, %08x, %08x",
					c.name, enc, gw, gs, gb, wantWeight, wantScales, c.want.biases)
			}
		}
	}
}
