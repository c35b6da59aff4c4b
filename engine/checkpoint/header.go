package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"assay/engine/tensor"
)

const (
	maxHeader = 100 << 20 // bytes; V4-Flash has 7.7 MB in 46 headers
	maxRank   = 8
	maxDim    = 1 << 40
	maxName   = 1024 // bytes
)

// Header is the table of contents of one safetensors file.
type Header struct {
	Entries  []Entry // in the order of their data
	Metadata map[string]string
	start    int64 // where the data begin in the file
}

// Entry is one tensor of a file: its bytes are [Begin, End) of the data that
// follow the header.
type Entry struct {
	tensor.Info
	Begin, End int64
}

// Data returns the bytes of an entry, as a view of its file.
func (h Header) Data(file []byte, e Entry) []byte {
	return file[h.start+e.Begin : h.start+e.End : h.start+e.End]
}

// ParseHeader reads the header of a safetensors file: eight bytes, the
// header's length n, little-endian; n bytes of JSON that begin with { and may
// end with spaces; the data. file is all of it, and only the header is touched.
//
// It accepts a file only if every byte of the data belongs to exactly one
// tensor, every tensor has as many bytes as its dtype and shape say, the JSON
// has no name twice, no bad UTF-8 and no key that is unknown, and nothing is
// beyond 100 MB of header, 1024 bytes of a name, eight dimensions, or 2^40 in
// any of them.
// Source: huggingface/safetensors README.md, section Format.
func ParseHeader(file []byte) (Header, error) {
	if len(file) < 8 {
		return Header{}, fmt.Errorf("%d bytes, want 8 for the header's length", len(file))
	}
	n := binary.LittleEndian.Uint64(file)
	switch {
	case n > maxHeader:
		return Header{}, fmt.Errorf("header of %d bytes, want at most %d", n, maxHeader)
	case n > uint64(len(file)-8):
		return Header{}, fmt.Errorf("header of %d bytes in a file of %d", n, len(file))
	case n == 0 || file[8] != '{':
		return Header{}, fmt.Errorf("header does not begin with {")
	}
	h := Header{start: 8 + int64(n)}
	p := parser{jsontext.NewDecoder(bytes.NewBuffer(file[8:h.start:h.start]))}
	if err := p.header(&h); err != nil {
		return Header{}, fmt.Errorf("header: %w", plainError(err))
	}
	rest := file[8+p.dec.InputOffset() : h.start]
	if len(bytes.TrimLeft(rest, " ")) != 0 {
		return Header{}, fmt.Errorf("header: more than spaces after the closing }")
	}
	return h, h.checkLayout(int64(len(file)) - h.start)
}

// plainError says in a sentence what jsontext found twice.
func plainError(err error) error {
	if s := (*jsontext.SyntacticError)(nil); errors.As(err, &s) && errors.Is(err, jsontext.ErrDuplicateName) {
		return fmt.Errorf("name %q is there twice", s.JSONPointer.LastToken())
	}
	return err
}

// checkLayout errs unless the entries, which it sorts, cover size bytes with
// neither gap nor overlap.
func (h *Header) checkLayout(size int64) error {
	slices.SortStableFunc(h.Entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End))
	})
	at := int64(0)
	for i, e := range h.Entries {
		switch {
		case e.End > size:
			return fmt.Errorf("tensor %q ends at byte %d of %d: the file is cut short", e.Name, e.End, size)
		case e.Begin < at:
			return fmt.Errorf("tensors %q and %q overlap", h.Entries[i-1].Name, e.Name)
		case e.Begin > at:
			return fmt.Errorf("%d bytes before tensor %q belong to none", e.Begin-at, e.Name)
		}
		at = e.End
	}
	if at != size {
		return fmt.Errorf("%d bytes after the last tensor belong to none", size-at)
	}
	return nil
}

// parser reads the JSON of a header or an index.
type parser struct{ dec *jsontext.Decoder }

func (p parser) header(h *Header) error {
	return p.object(func(name string) error {
		if name == "__metadata__" {
			return p.metadata(h)
		}
		e, err := p.entry(name)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, plainError(err))
		}
		h.Entries = append(h.Entries, e)
		return nil
	})
}

func (p parser) metadata(h *Header) error {
	h.Metadata = map[string]string{}
	return p.object(func(key string) error {
		value, err := p.text()
		if err != nil {
			return fmt.Errorf("__metadata__: %q: %w", key, err)
		}
		h.Metadata[key] = value
		return nil
	})
}

func (p parser) entry(name string) (Entry, error) {
	e := Entry{Info: tensor.Info{Name: name}}
	if name == "" {
		return e, fmt.Errorf("a tensor needs a name")
	}
	var shape, offsets []int64
	seen := 0
	err := p.object(func(key string) (err error) {
		seen++
		switch key {
		case "dtype":
			var text string
			text, err = p.text()
			e.DType = tensor.DType(text)
		case "shape":
			shape, err = p.numbers(maxRank)
		case "data_offsets":
			offsets, err = p.numbers(2)
		default:
			err = fmt.Errorf("unknown key")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return e, err
	case seen != 3:
		return e, fmt.Errorf("want dtype, shape and data_offsets")
	case e.DType.Size() == 0:
		return e, fmt.Errorf("unknown dtype %.40q", e.DType)
	case len(offsets) != 2 || offsets[0] > offsets[1]:
		return e, fmt.Errorf("data_offsets %v, want begin and end", offsets)
	}
	e.Begin, e.End = offsets[0], offsets[1]
	return e, e.setShape(shape)
}

// setShape takes the shape in and errs unless it gives the bytes of the offsets.
func (e *Entry) setShape(shape []int64) error {
	e.Shape = make([]int, len(shape))
	size, whole := uint64(e.DType.Size()), true // of the non-zero dimensions
	empty := false
	for i, d := range shape {
		if d > maxDim {
			return fmt.Errorf("dimension %d of shape %v, want at most %d", d, shape, int64(maxDim))
		}
		e.Shape[i] = int(d)
		if d == 0 {
			empty = true
			continue
		}
		hi, lo := bits.Mul64(size, uint64(d))
		size, whole = lo, whole && hi == 0 && lo <= math.MaxInt64
	}
	if !whole {
		return fmt.Errorf("shape %v is too large", shape)
	}
	if empty {
		size = 0
	}
	if got := e.End - e.Begin; got != int64(size) {
		return fmt.Errorf("%d bytes for %s %v, want %d", got, e.DType, shape, size)
	}
	return nil
}

// object reads an object; member reads the value of each name.
func (p parser) object(member func(name string) error) error {
	if kind := p.dec.PeekKind(); kind != '{' {
		return p.unexpected(kind, "an object")
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return err
		}
		text := name.String()
		if len(text) > maxName {
			return fmt.Errorf("name %.20q... of %d bytes, want at most %d", text, len(text), maxName)
		}
		if err := member(text); err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

func (p parser) text() (string, error) {
	if kind := p.dec.PeekKind(); kind != '"' {
		return "", p.unexpected(kind, "a string")
	}
	t, err := p.dec.ReadToken()
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

// numbers reads an array of at most limit numbers.
func (p parser) numbers(limit int) ([]int64, error) {
	if kind := p.dec.PeekKind(); kind != '[' {
		return nil, p.unexpected(kind, "an array")
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, err
	}
	out := make([]int64, 0, 2)
	for p.dec.PeekKind() != ']' {
		if len(out) == limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	_, err := p.dec.ReadToken()
	return out, err
}

// number reads a whole number, written in digits alone.
func (p parser) number() (int64, error) {
	if kind := p.dec.PeekKind(); kind != '0' {
		return 0, p.unexpected(kind, "a whole number")
	}
	raw, err := p.dec.ReadValue()
	if err != nil {
		return 0, err
	}
	n := int64(0)
	for _, digit := range raw {
		if digit < '0' || digit > '9' || n > (math.MaxInt64-9)/10 {
			return 0, fmt.Errorf("%.40s, want a whole number of 0 or more", raw)
		}
		n = 10*n + int64(digit-'0')
	}
	return n, nil
}

// unexpected returns the decoder's own error where there is one, and else says
// what was wanted.
func (p parser) unexpected(kind jsontext.Kind, want string) error {
	if kind == 0 {
		if _, err := p.dec.ReadToken(); err != nil {
			return err
		}
	}
	return fmt.Errorf("want %s", want)
}
