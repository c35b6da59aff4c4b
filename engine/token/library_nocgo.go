//go:build !cgo

package token

import "errors"

// library stands in for libtokenizers.a where there is no cgo to link it.
type library struct{}

func openLibrary([]byte) (*library, error) {
	return nil, errors.New("assay was built without cgo, which its tokenizer needs: " +
		"install a C compiler and build with `make build` (CGO_ENABLED=1)")
}

func (*library) encode(string) []uint32 { return nil }
func (*library) decode([]uint32) string { return "" }
func (*library) close() error           { return nil }
