package reference

import (
	"testing"

	"assay/engine/tensor"
)

// TestPlain: what is passed without a look at its values has none to refuse, at
// and beyond every limit of scales and codes.
func TestPlain(t *testing.T) {
	for _, native := range []tensor.Native{tensor.FP4, tensor.FP8} {
		for scale := range 256 {
			for code := range 256 {
				b := blocked{native: native, rows: 1, cols: 32}
				codes := make([]byte, 32)
				if native == tensor.FP4 {
					codes = codes[:16]
				}
				codes[len(codes)-3] = byte(code)
				b.weight.Data, b.scale.Data = codes, []byte{byte(scale)}
				row := make([]uint32, 32)
				if refuse := decodeRow(b, 0, row)&refused != 0; refuse && b.plain() {
					t.Fatalf("%s code %#x under scale byte %d is passed and to be refused", native, code, scale)
				}
				if (scale == 3 || scale == 246) && code&0x7f != 0x7f && !b.plain() {
					t.Fatalf("%s code %#x under scale byte %d is not passed", native, code, scale)
				}
			}
		}
	}
}
