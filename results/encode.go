package results

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// Floats is float32 values whose JSON is one string: base64 (standard alphabet,
// padded) of their little-endian IEEE 754 bytes, 4 a value. Every bit survives,
// those of NaN and of −0 too.
type Floats []float32

// MarshalJSON implements json.Marshaler. A nil Floats is the empty string.
func (f Floats) MarshalJSON() ([]byte, error) {
	b := make([]byte, 4*len(f))
	for i, v := range f {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

// UnmarshalJSON implements json.Unmarshaler. It refuses null, and a string whose
// bytes are not a whole number of values.
func (f *Floats) UnmarshalJSON(data []byte) error {
	b, err := decodeString(data)
	if err != nil {
		return fmt.Errorf("results: floats: %w", err)
	}
	if len(b)%4 != 0 {
		return fmt.Errorf("results: floats: %d bytes, want a multiple of 4", len(b))
	}
	v := make(Floats, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	*f = v
	return nil
}

// Bits is booleans whose JSON is {"n": count, "b": base64}: entry i is bit i%8,
// from the lowest, of byte i/8. The bits after the last entry are zero.
type Bits []bool

type bitsJSON struct {
	N int    `json:"n"`
	B string `json:"b"`
}

// MarshalJSON implements json.Marshaler.
func (b Bits) MarshalJSON() ([]byte, error) {
	set := make([]byte, (len(b)+7)/8)
	for i, v := range b {
		if v {
			set[i/8] |= 1 << (i % 8)
		}
	}
	return json.Marshal(bitsJSON{N: len(b), B: base64.StdEncoding.EncodeToString(set)})
}

// UnmarshalJSON implements json.Unmarshaler. It refuses a count that does not
// match the bytes, and bits set after the last entry.
func (b *Bits) UnmarshalJSON(data []byte) error {
	var j bitsJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("results: bits: %w", err)
	}
	set, err := base64.StdEncoding.Strict().DecodeString(j.B)
	if err != nil {
		return fmt.Errorf("results: bits: %w", err)
	}
	if j.N < 0 || len(set) != j.N/8+min(j.N%8, 1) {
		return fmt.Errorf("results: bits: %d entries in %d bytes", j.N, len(set))
	}
	if r := j.N % 8; r != 0 && set[len(set)-1]>>r != 0 {
		return fmt.Errorf("results: bits: bits set after entry %d", j.N-1)
	}
	v := make(Bits, j.N)
	for i := range v {
		v[i] = set[i/8]>>(i%8)&1 == 1
	}
	*b = v
	return nil
}

// decodeString returns the bytes of a JSON string of base64.
func decodeString(data []byte) ([]byte, error) {
	var s *string
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("null, want a string")
	}
	return base64.StdEncoding.Strict().DecodeString(*s)
}
