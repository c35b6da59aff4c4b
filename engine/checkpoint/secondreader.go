package checkpoint

import (
	"fmt"

	"github.com/nlpodyssey/safetensors"
)

// secondReader has nlpodyssey/safetensors read a file whose dtypes it knows,
// which are all but FP8's, and errs unless it finds the tensors of header in
// the same bytes. It is less strict than ParseHeader, so it comes second; two
// readers that were written apart seldom share a mistake.
func secondReader(file []byte, header Header) error {
	for _, e := range header.Entries {
		if _, err := safetensors.ParseDType(string(e.DType)); err != nil {
			return nil
		}
	}
	other, err := safetensors.Deserialize(file)
	if err != nil {
		return fmt.Errorf("nlpodyssey/safetensors: %w", err)
	}
	if other.Len() != len(header.Entries) {
		return fmt.Errorf("nlpodyssey/safetensors reads %d tensors, assay %d", other.Len(), len(header.Entries))
	}
	for _, e := range header.Entries {
		view, ok := other.Tensor(e.Name)
		if !ok {
			return fmt.Errorf("nlpodyssey/safetensors reads no tensor %q", e.Name)
		}
		if view.DType().String() != string(e.DType) || fmt.Sprint(view.Shape()) != fmt.Sprint(e.Shape) || !sameBytes(view.Data(), header.Data(file, e)) {
			return fmt.Errorf("tensor %q: nlpodyssey/safetensors reads %s %v, assay %s %v, or other bytes",
				e.Name, view.DType(), view.Shape(), e.DType, e.Shape)
		}
	}
	return nil
}

// sameBytes says whether a and b are the same view.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
