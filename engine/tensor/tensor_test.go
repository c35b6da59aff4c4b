package tensor

import (
	"strings"
	"testing"
)

// pairs is a format of two bytes of codes, one of scales and one of biases a row.
type pairs struct{ PlainFormat }

func (pairs) Check(int, int) error              { return nil }
func (pairs) Sizes(rows, _ int) (c, s, b int64) { n := int64(rows); return 2 * n, n, n }

// TestMatrixCheck wants each part as long as it is, not just their sum.
func TestMatrixCheck(t *testing.T) {
	m := Matrix{Name: "w", Rows: 4, Cols: 2, Format: pairs{}, Codes: make([]byte, 8), Scales: make([]byte, 4), Biases: make([]byte, 4)}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	m.Scales, m.Biases = make([]byte, 3), make([]byte, 5)
	if err := m.Check(); err == nil || !strings.Contains(err.Error(), "8 bytes of codes, 3 of scales, 5 of biases") {
		t.Errorf("parts of wrong lengths whose sum is right: %v", err)
	}
	plain := Matrix{Name: "w", Rows: 2, Cols: 3, Format: PlainFormat(BF16), Codes: make([]byte, 12)}
	if err := plain.Check(); err != nil {
		t.Error(err)
	}
	plain.Format = PlainFormat(I8)
	if plain.Check() == nil {
		t.Error("a plain matrix of I8 passes")
	}
}
