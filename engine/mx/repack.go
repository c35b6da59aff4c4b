package mx

import (
	"fmt"

	"assay/engine/tensor"
)

// block is the rows, and the columns, that share one scale in an FP8 tensor of
// the upstream checkpoint.
const block = tensor.FP8Block

// Repack returns a stored tensor [rows, cols] as a matrix of the same values
// under a name. codes are the tensor's bytes, [rows, cols/2] for FP4 and
// [rows, cols] for FP8, and are shared, not copied. scales are those of its
// companion:
//
//	FP4  [rows, cols/32], shared too
//	FP8  [⌈rows/128⌉, ⌈cols/128⌉], spread out: one for 32 columns of each row,
//	     out[r][g] = scales[r/128][g/4]; the last blocks may be ragged
//
// It errs on a shape that the format cannot hold, on slices of other lengths,
// and where Verify does.
// Source: deepseek-ai/DeepSeek-V3 inference/kernel.py, weight_dequant, for the
// blocks.
func Repack(f Format, name string, rows, cols int, codes, scales []byte) (*tensor.Matrix, error) {
	m := &tensor.Matrix{Name: name, Rows: rows, Cols: cols, Format: f, Codes: codes, Scales: scales}
	if err := f.Check(rows, cols); err != nil {
		return nil, fmt.Errorf("%w: tensor %q", err, name)
	}
	if int64(len(codes)) != f.CodeBytes(rows, cols) {
		return nil, fmt.Errorf("mx: tensor %q: %d bytes of codes, want %d for %v [%d, %d]",
			name, len(codes), f.CodeBytes(rows, cols), f, rows, cols)
	}
	want := f.ScaleBytes(rows, cols)
	if f == FP8 {
		want = int64(blocks(rows)) * int64(blocks(cols))
	}
	if int64(len(scales)) != want {
		return nil, fmt.Errorf("mx: tensor %q: %d scales, want %d for stored %v [%d, %d]",
			name, len(scales), want, f, rows, cols)
	}
	if f == FP8 {
		m.Scales = spread(rows, cols, scales)
	}
	if err := Verify(m); err != nil {
		return nil, err
	}
	return m, nil
}

func blocks(n int) int { return (n + block - 1) / block }

// spread returns a scale for each 32 columns of each row out of those of blocks.
func spread(rows, cols int, scales []byte) []byte {
	perBlock, groups := block/GroupSize, cols/GroupSize
	out := make([]byte, rows*groups)
	for r := range rows {
		from, to := scales[r/block*blocks(cols):], out[r*groups:][:groups]
		for g := range to {
			to[g] = from[g/perBlock]
		}
	}
	return out
}

// Verify reports the first weight of m that is no finite float32, by row and
// column: one under scale byte 255 (which MX calls NaN and MLX decodes to
// infinity), an E4M3 code 0x7F or 0xFF, or a product that overflows. It errs too
// if m's format is not of this package or its slices have other lengths.
func Verify(m *tensor.Matrix) error {
	f, ok := m.Format.(Format)
	if !ok {
		return fmt.Errorf("mx: tensor %q is %v", m.Name, m.Format)
	}
	if err := f.Check(m.Rows, m.Cols); err != nil {
		return fmt.Errorf("%w: tensor %q", err, m.Name)
	}
	if int64(len(m.Codes)) != f.CodeBytes(m.Rows, m.Cols) || int64(len(m.Scales)) != f.ScaleBytes(m.Rows, m.Cols) {
		return fmt.Errorf("mx: tensor %q: %d bytes of codes and %d scales for %v [%d, %d], want %d and %d", m.Name,
			len(m.Codes), len(m.Scales), f, m.Rows, m.Cols, f.CodeBytes(m.Rows, m.Cols), f.ScaleBytes(m.Rows, m.Cols))
	}
	width := GroupSize * f.Bits() / 8
	for g, scale := range m.Scales {
		if !safe(f, scale, m.Codes[g*width:][:width]) {
			if err := verifyGroup(f, m, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// safe reports, quickly, that a group is finite. It may say false of one that is:
// it takes every code for the largest, 6 < 2^3 or 448 < 2^9.
func safe(f Format, scale byte, codes []byte) bool {
	if f == FP4 {
		return int(scale)-127+3 <= 128
	}
	if int(scale)-127+9 > 128 {
		return false
	}
	for _, b := range codes {
		if b&0x7f == 0x7f {
			return false
		}
	}
	return true
}

// verifyGroup looks at every weight of group g of the matrix.
func verifyGroup(f Format, m *tensor.Matrix, g int) error {
	row, column := g*GroupSize/m.Cols, g*GroupSize%m.Cols
	if m.Scales[g] == 255 {
		return fmt.Errorf("mx: tensor %q: row %d, column %d: scale byte is 255, which is NaN", m.Name, row, column)
	}
	w := make([]float32, m.Cols)
	f.DecodeRow(w, m, row)
	for i, v := range w[column:][:GroupSize] {
		if v != v {
			return fmt.Errorf("mx: tensor %q: row %d, column %d: E4M3 code is NaN", m.Name, row, column+i)
		}
		if v-v != 0 {
			return fmt.Errorf("mx: tensor %q: row %d, column %d: weight overflows float32 under scale byte %d",
				m.Name, row, column+i, m.Scales[g])
		}
	}
	return nil
}
