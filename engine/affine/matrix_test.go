package affine

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"assay/engine/tensor"
)

func TestParams(t *testing.T) {
	for _, c := range []struct {
		params        Params
		name          string
		bitsPerWeight float64
		words         int   // of a row of 4096
		bytes         int64 // of [3, 4096], by hand
	}{
		{Params{2, 32}, "affine 2-bit g32", 3, 256, 3*1024 + 3*128*4},
		{Params{3, 64}, "affine 3-bit g64", 3.5, 384, 3*1536 + 3*64*4},
		{Params{4, 64}, "affine 4-bit g64", 4.5, 512, 3*2048 + 3*64*4},
		{Params{4, 32}, "affine 4-bit g32", 5, 512, 3*2048 + 3*128*4},
		{Params{5, 128}, "affine 5-bit g128", 5.25, 640, 3*2560 + 3*32*4},
		{Params{6, 64}, "affine 6-bit g64", 6.5, 768, 3*3072 + 3*64*4},
		{Params{8, 32}, "affine 8-bit g32", 9, 1024, 3*4096 + 3*128*4},
	} {
		p := c.params
		if err := p.CheckShape(3, 4096); err != nil {
			t.Error(err)
		}
		if p.String() != c.name || p.BitsPerWeight() != c.bitsPerWeight || p.WordsPerRow(4096) != c.words {
			t.Errorf("%v: %v bits per weight, %d words, want %s, %v, %d",
				p, p.BitsPerWeight(), p.WordsPerRow(4096), c.name, c.bitsPerWeight, c.words)
		}
		if got := tensor.FormatBytes(Format{Params: p}, 3, 4096); got != c.bytes || float64(got)*8 != c.bitsPerWeight*3*4096 {
			t.Errorf("%v: %d bytes, want %d", p, got, c.bytes)
		}
	}
}

func TestParamsRefuse(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{Params{7, 64}.Validate(), "affine: 7 bits, want 2, 3, 4, 5, 6 or 8"},
		{Params{1, 64}.Validate(), "affine: 1 bits, want 2, 3, 4, 5, 6 or 8"},
		{Params{}.Validate(), "affine: 0 bits, want 2, 3, 4, 5, 6 or 8"},
		{Params{4, 16}.Validate(), "affine: group size 16, want 32, 64 or 128"},
		{Params{4, 64}.CheckShape(2, 96), "affine: 96 columns, want a multiple of the group size 64"},
		{Params{4, 64}.CheckShape(0, 64), "affine: shape [0, 64], want at least one row and one column"},
		{Params{4, 63}.CheckShape(1, 63), "affine: group size 63, want 32, 64 or 128"},
		{Encoder(5).Validate(), "affine: no encoder is numbered 5"},
		{Encoder(-1).Validate(), "affine: no encoder is numbered -1"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("error %v, want %s", c.err, c.want)
		}
	}
}

func TestEncoderNames(t *testing.T) {
	names := []string{"mlx-gpu", "mlx-cpu", "recode", "search", "lattice"}
	want := []Encoder{GPU, CPU, Recode, Search, Lattice}
	if !slices.Equal(Encoders(), want) {
		t.Errorf("encoders are %v, want %v", Encoders(), want)
	}
	for i, name := range names {
		if got, err := ParseEncoder(name); err != nil || got != want[i] || got.String() != name || got.Validate() != nil {
			t.Errorf("%q is %v, %v", name, got, err)
		}
	}
	const refusal = `affine: encoder "mlx", want "mlx-gpu", "mlx-cpu", "recode", "search" or "lattice"`
	if _, err := ParseEncoder("mlx"); err == nil || err.Error() != refusal {
		t.Errorf("error %v", err)
	}
	if got := Encoder(9).String(); got != "affine.Encoder(9)" {
		t.Errorf("9 is called %s", got)
	}
	var zero Encoder
	if zero != GPU {
		t.Error("GPU is not the zero value")
	}
}

// Rows quantized in any split, at the same time, are those of one call.
func TestRowsInParallel(t *testing.T) {
	const rows, cols = 37, 384
	w := gaussian(5, rows*cols)
	for _, bits := range widths {
		for _, size := range []int{32, 64, 128} {
			for _, enc := range []Encoder{GPU, CPU, Recode, Search} {
				checkRowsInParallel(t, Params{bits, size}, enc, w, rows, cols)
			}
		}
	}
	checkRowsInParallel(t, Params{5, 32}, Lattice, fp4Blocks(5, rows*cols), rows, cols)
}

func checkRowsInParallel(t *testing.T, p Params, enc Encoder, w []float32, rows, cols int) {
	t.Helper()
	want, err := Quantize(p, enc, w, rows, cols)
	if err != nil {
		t.Fatal(err)
	}
	got, err := NewMatrix(p, rows, cols)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for first := 0; first < rows; first += 5 {
		last := min(first+5, rows)
		wg.Go(func() {
			if err := got.QuantizeRows(enc, first, w[first*cols:last*cols]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(got.Codes, want.Codes) || !slices.Equal(got.Scales, want.Scales) || !slices.Equal(got.Biases, want.Biases) {
		t.Errorf("%v, %v: rows in parallel differ", p, enc)
	}
}

// What the encoders that choose codes for the stored pair return is what a matrix
// holds, group by group.
func TestRowsAreGroups(t *testing.T) {
	const size = 64
	w := fp4Blocks(6, 8*size)
	for _, enc := range []Encoder{Recode, Search, Lattice} {
		m, err := Quantize(Params{8, size}, enc, w, 1, len(w))
		if err != nil {
			t.Fatal(err)
		}
		codes := make([]uint8, size)
		for g := range m.Scales {
			s, z, err := QuantizeGroup(codes, 8, enc, w[g*size:][:size])
			if err != nil || tensor.BF16ToFloat32(m.Scales[g]) != s || tensor.BF16ToFloat32(m.Biases[g]) != z {
				t.Errorf("%v: group %d has scale %v, bias %v, %v, stored %#x, %#x", enc, g, s, z, err, m.Scales[g], m.Biases[g])
			}
			if !bytes.Equal(m.Codes[g*size:][:size], codes) {
				t.Errorf("%v: group %d has other codes in a row", enc, g)
			}
		}
	}
}

func TestRowsAllocateNothing(t *testing.T) {
	const cols = 1024
	w := fp4Blocks(7, cols)
	for _, enc := range Encoders() {
		for _, p := range []Params{{5, 32}, {8, 128}} {
			m, err := NewMatrix(p, 1, cols)
			if err != nil {
				t.Fatal(err)
			}
			n := testing.AllocsPerRun(2, func() {
				if err := m.QuantizeRows(enc, 0, w); err != nil {
					t.Error(err)
				}
			})
			if n != 0 {
				t.Errorf("%v, %v: %v allocations a row", p, enc, n)
			}
		}
	}
}

// ŵ = s·q + z with the product rounded first, element by element.
func TestDecodeIsTheFormula(t *testing.T) {
	const rows, cols = 3, 256
	w := gaussian(6, rows*cols)
	for _, bits := range widths {
		for _, size := range []int{32, 64, 128} {
			m, err := Quantize(Params{bits, size}, GPU, w, rows, cols)
			if err != nil {
				t.Fatal(err)
			}
			q := make([]uint8, rows*cols)
			Unpack(q, bits, m.Codes) // rows are whole bytes, so one stream
			got, f16 := make([]float32, cols), make([]float32, cols)
			scales, biases := toF16(m.Scales), toF16(m.Biases)
			for row := range rows {
				m.DecodeRow(got, row)
				codes, _, _ := m.row(row)
				groups := cols / size
				DecodeRowF16(f16, m.Params, codes, scales[row*groups:][:groups], biases[row*groups:][:groups])
				for i := range cols {
					g, c := (row*cols+i)/size, float64(q[row*cols+i])
					want := decoded(tensor.BF16ToFloat32(m.Scales[g]), c, tensor.BF16ToFloat32(m.Biases[g]))
					want16 := decoded(tensor.F16ToFloat32(scales[g]), c, tensor.F16ToFloat32(biases[g]))
					if got[i] != want || f16[i] != want16 {
						t.Fatalf("%v: row %d, column %d is %v and, in F16, %v, want %v and %v",
							m.Params, row, i, got[i], f16[i], want, want16)
					}
				}
			}
		}
	}
}

// decoded rounds each float64 operation, exact before that, to float32.
func decoded(s float32, q float64, z float32) float32 {
	product := float32(float64(s) * q)
	return float32(float64(product) + float64(z))
}

func toF16(bf []uint16) []uint16 {
	out := make([]uint16, len(bf))
	for i, u := range bf {
		out[i] = tensor.F16FromFloat32(tensor.BF16ToFloat32(u))
	}
	return out
}

func TestMatrixRefuses(t *testing.T) {
	p := Params{4, 32}
	w := make([]float32, 4*64)
	m, err := NewMatrix(p, 4, 64)
	if err != nil {
		t.Fatal(err)
	}
	bad, wide := slices.Clone(w), slices.Clone(w)
	bad[2*64+37] = float32(math.NaN())
	wide[64+32], wide[64+33] = math.MaxFloat32, 1 // rounds to 2^128 in BF16
	quantize := func(p Params, enc Encoder, w []float32) error {
		_, err := Quantize(p, enc, w, 4, 64)
		return err
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{quantize(p, GPU, bad), "affine: row 2, column 37: weight is NaN"},
		{quantize(p, CPU, bad), "affine: row 2, column 37: weight is NaN"},
		{quantize(p, GPU, wide), "affine: row 1, columns 32 to 63: weights from 0 to 3.4028235e+38 have no finite scale in BF16"},
		{quantize(p, Recode, bad), "affine: row 2, column 37: weight is NaN"},
		{quantize(p, Search, bad), "affine: row 2, column 37: weight is NaN"},
		{quantize(p, Lattice, bad), "affine: row 2, column 37: weight is NaN"},
		{quantize(p, Recode, wide), "affine: row 1, columns 32 to 63: weights from 0 to 3.4028235e+38 have no finite scale in BF16"},
		{quantize(p, Lattice, wide), "affine: row 1, column 32: not on a lattice of 15 steps: " +
			"from 0 to 3.4028235e+38 a step is at least 4.253529586511731e+37, and 3.4028235e+38 is 7.999999523162842 steps from 0"},
		{quantize(p, GPU, w[1:]), "affine: 255 weights, want 256 for [4, 64]"},
		{quantize(Params{4, 128}, GPU, w), "affine: 64 columns, want a multiple of the group size 128"},
		{quantize(p, 9, w), "affine: no encoder is numbered 9"},
		{m.QuantizeRows(GPU, 3, w[:128]), "affine: 128 weights for row 3 on, want rows of [4, 64]"},
		{m.QuantizeRows(GPU, -1, w[:64]), "affine: 64 weights for row -1 on, want rows of [4, 64]"},
		{m.QuantizeRows(GPU, 0, w[:65]), "affine: 65 weights for row 0 on, want rows of [4, 64]"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("error %v, want %s", c.err, c.want)
		}
	}
	row := func(cols, codes, scales, biases int) func() {
		return func() {
			DecodeRow(make([]float32, cols), p, make([]byte, codes), make([]uint16, scales), make([]uint16, biases))
		}
	}
	row(64, 32, 2, 2)()
	for i, call := range []func(){row(48, 24, 1, 1), row(64, 31, 2, 2), row(64, 32, 1, 2), row(64, 32, 2, 3)} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { mustPanic(t, call) })
	}
}
