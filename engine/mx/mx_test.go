package mx

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"assay/engine/tensor"
)

var _ tensor.Format = FP4

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		format        Format
		name          string
		bitsPerWeight float64
		codes, scales int64 // of [3, 256]
	}{
		{FP4, "mxfp4", 4.25, 384, 24},
		{FP8, "mxfp8", 8.25, 768, 24},
	} {
		if c.format.String() != c.name || c.format.BitsPerWeight() != c.bitsPerWeight {
			t.Errorf("%v has %v bits per weight, want %s %v", c.format, c.format.BitsPerWeight(), c.name, c.bitsPerWeight)
		}
		if codes, scales := c.format.CodeBytes(3, 256), c.format.ScaleBytes(3, 256); codes != c.codes || scales != c.scales {
			t.Errorf("%v [3, 256] has %d and %d bytes, want %d and %d", c.format, codes, scales, c.codes, c.scales)
		}
		if got := tensor.FormatBytes(c.format, 3, 256); float64(got)*8 != c.bitsPerWeight*3*256 {
			t.Errorf("%v [3, 256] has %d bytes", c.format, got)
		}
		if f, err := Parse(c.name); err != nil || f != c.format {
			t.Errorf("Parse(%q) is %v, %v", c.name, f, err)
		}
	}
	if _, err := Parse("nvfp4"); err == nil || err.Error() != `mx: format "nvfp4", want "mxfp4" or "mxfp8"` {
		t.Errorf("Parse of an unknown name: %v", err)
	}
}

// Bytes by hand: low four bits are the even column; 2^(128−127) is 2, 2^(126−127)
// is 1/2.
func TestFP4ByHand(t *testing.T) {
	codes := make([]byte, 32)
	copy(codes, []byte{0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed, 0x0f})
	copy(codes[16:], []byte{0x71})
	scales := []byte{128, 126}
	m, err := Repack(FP4, "w1", 1, 64, codes, scales)
	if err != nil {
		t.Fatal(err)
	}
	if &m.Codes[0] != &codes[0] || &m.Scales[0] != &scales[0] {
		t.Error("codes or scales were copied")
	}
	got := m.Decode()
	want := make([]float32, 64)
	copy(want, []float32{1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12, 0})
	copy(want[32:], []float32{0.25, 3})
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if m.Check() != nil || m.Bytes() != 34 {
		t.Errorf("Check %v, %d bytes, want 34", m.Check(), m.Bytes())
	}
}

// 130 x 160: two blocks down, the second of 2 rows, and two across, the second of
// 32 columns.
func TestFP8RaggedBlocks(t *testing.T) {
	const rows, cols = 130, 160
	codes := bytes.Repeat([]byte{0x38}, rows*cols) // 1.0
	codes[0], codes[129*cols+159] = 0x7e, 0x81     // 448, −2^-9
	m, err := Repack(FP8, "wq_a", rows, cols, codes, []byte{127, 128, 129, 120})
	if err != nil {
		t.Fatal(err)
	}
	w := m.Decode()
	for _, c := range []struct {
		row, col int
		want     float32
	}{
		{0, 0, 448}, {0, 1, 1}, {127, 127, 1}, {0, 128, 2}, {127, 159, 2},
		{128, 0, 4}, {129, 127, 4}, {128, 128, 1. / 128}, {129, 159, -0x1p-16},
	} {
		if got := w[c.row*cols+c.col]; got != c.want {
			t.Errorf("row %d, column %d is %v, want %v", c.row, c.col, got, c.want)
		}
	}
	wantScales := []byte{127, 127, 127, 127, 128}
	if got := m.Scales[127*5:][:5]; !bytes.Equal(got, wantScales) {
		t.Errorf("scales of row 127 are %v, want %v", got, wantScales)
	}
	wantScales = []byte{129, 129, 129, 129, 120}
	if got := m.Scales[128*5:][:5]; !bytes.Equal(got, wantScales) {
		t.Errorf("scales of row 128 are %v, want %v", got, wantScales)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

// Every code under every scale: decoded to the exact product where that is a
// finite float32, and refused by row and column where not.
func TestEveryCodeUnderEveryScale(t *testing.T) {
	for _, f := range []Format{FP4, FP8} {
		count := 1 << f.Bits()
		for scale := range 256 {
			for code := range count {
				m := &tensor.Matrix{Name: "w", Rows: 2, Cols: 64, Format: f}
				m.Codes = make([]byte, f.CodeBytes(2, 64))
				m.Scales = []byte{0, 0, 0, byte(scale)}
				at := 1*64 + 32 + 5 // row 1, column 37
				if f == FP4 {
					m.Codes[at/2] |= byte(code << 4)
				} else {
					m.Codes[at] = byte(code)
				}
				value := float64(tensor.E2M1ToFloat32(byte(code & 15)))
				if f == FP8 {
					value = float64(tensor.E4M3ToFloat32(byte(code)))
				}
				want := math.Ldexp(value, scale-127)
				err := Verify(m)
				if scale == 255 || want != want || math.Abs(want) > math.MaxFloat32 {
					column := 37
					if scale == 255 {
						column = 32
					}
					if text := fmt.Sprintf("row 1, column %d:", column); err == nil || !strings.Contains(err.Error(), text) {
						t.Fatalf("%v: code %#x, scale %d: error %v, want one with %q", f, code, scale, err, text)
					}
					continue
				}
				if got := m.Decode()[at]; err != nil || float64(got) != want {
					t.Fatalf("%v: code %#x, scale %d is %v, want %v (error %v)", f, code, scale, got, want, err)
				}
			}
		}
	}
}

func TestRepackRefuses(t *testing.T) {
	nan := make([]byte, 256*256)
	nan[200*256+131] = 0xff
	for _, c := range []struct {
		name          string
		format        Format
		rows, cols    int
		codes, scales []byte
		want          string
	}{
		{"columns", FP4, 2, 48, make([]byte, 48), make([]byte, 3), `mx: 48 columns, want a multiple of the group size 32: tensor "t"`},
		{"no rows", FP8, 0, 32, nil, nil, `mx: shape [0, 32], want at least one row and one column: tensor "t"`},
		{"format", 0, 1, 32, make([]byte, 32), make([]byte, 1), `mx: no format is numbered 0: tensor "t"`},
		{"codes", FP4, 2, 64, make([]byte, 63), make([]byte, 4), `mx: tensor "t": 63 bytes of codes, want 64 for mxfp4 [2, 64]`},
		{"FP4 scales", FP4, 2, 64, make([]byte, 64), make([]byte, 1), `mx: tensor "t": 1 scales, want 4 for stored mxfp4 [2, 64]`},
		{"FP8 scales", FP8, 2, 160, make([]byte, 320), make([]byte, 10), `mx: tensor "t": 10 scales, want 2 for stored mxfp8 [2, 160]`},
		{"E4M3 NaN", FP8, 256, 256, nan, make([]byte, 4), `mx: tensor "t": row 200, column 131: E4M3 code is NaN`},
		{"scale", FP8, 256, 256, make([]byte, 256*256), []byte{0, 1, 2, 255}, `mx: tensor "t": row 128, column 128: scale byte is 255, which is NaN`},
		{"overflow", FP4, 1, 32, bytes.Repeat([]byte{0x70}, 16), []byte{253}, `mx: tensor "t": row 0, column 1: weight overflows float32 under scale byte 253`},
	} {
		if _, err := Repack(c.format, "t", c.rows, c.cols, c.codes, c.scales); err == nil || err.Error() != c.want {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
	}
	if err := Verify(&tensor.Matrix{Name: "t", Rows: 1, Cols: 32, Format: tensor.PlainFormat(tensor.BF16)}); err == nil {
		t.Error("Verify accepts a plain matrix")
	}
	if err := Verify(&tensor.Matrix{Name: "t", Rows: 1, Cols: 32, Format: FP8, Codes: make([]byte, 32)}); err == nil {
		t.Error("Verify accepts a matrix without scales")
	}
}

func BenchmarkDecodeRow(b *testing.B) {
	const cols = 4096
	dst := make([]float32, cols)
	for _, f := range []Format{FP4, FP8} {
		scales := bytes.Repeat([]byte{120}, int(f.ScaleBytes(1, cols)))
		m := &tensor.Matrix{Rows: 1, Cols: cols, Format: f, Codes: make([]byte, f.CodeBytes(1, cols)), Scales: scales}
		b.Run(f.String(), func(b *testing.B) {
			for b.Loop() {
				f.DecodeRow(dst, m, 0)
			}
			b.ReportMetric(cols*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mweights/s")
		})
	}
}
