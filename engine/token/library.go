//go:build cgo

package token

// #cgo linux,amd64 CFLAGS: -I${SRCDIR}/../../.deps/tokenizers-1.22.2/linux-amd64
// #cgo linux,arm64 CFLAGS: -I${SRCDIR}/../../.deps/tokenizers-1.22.2/linux-arm64
// #cgo darwin,amd64 CFLAGS: -I${SRCDIR}/../../.deps/tokenizers-1.22.2/darwin-amd64
// #cgo darwin,arm64 CFLAGS: -I${SRCDIR}/../../.deps/tokenizers-1.22.2/darwin-arm64
// #cgo linux,amd64 LDFLAGS: -L${SRCDIR}/../../.deps/tokenizers-1.22.2/linux-amd64
// #cgo linux,arm64 LDFLAGS: -L${SRCDIR}/../../.deps/tokenizers-1.22.2/linux-arm64
// #cgo darwin,amd64 LDFLAGS: -L${SRCDIR}/../../.deps/tokenizers-1.22.2/darwin-amd64
// #cgo darwin,arm64 LDFLAGS: -L${SRCDIR}/../../.deps/tokenizers-1.22.2/darwin-arm64
//
// #if !__has_include("libtokenizers.a")
// #error the tokenizer library of assay is not built: run make build once
// #endif
import "C"

import "github.com/daulet/tokenizers"

// library is libtokenizers.a, which `make build` builds from the Rust source in
// the Go module. Its functions report any failure as an empty result.
type library struct{ tk *tokenizers.Tokenizer }

func openLibrary(tokenizerJSON []byte) (*library, error) {
	tk, err := tokenizers.FromBytes(tokenizerJSON)
	if err != nil {
		return nil, err
	}
	return &library{tk}, nil
}

func (l *library) encode(text string) []uint32 {
	// Without options it returns ids alone; Encode would copy out every token's text.
	return l.tk.EncodeWithOptions(text, false).IDs
}

func (l *library) decode(ids []uint32) string { return l.tk.Decode(ids, false) }

func (l *library) close() error { return l.tk.Close() }
