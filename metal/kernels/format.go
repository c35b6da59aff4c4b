package kernels

import "fmt"

// Kind is a kind of weight format.
type Kind int

// The kinds, by the numbers that kernels know them by.
const (
	F32 Kind = iota
	BF16
	Affine
	MXFP4
	MXFP8
)

// Format is a weight format as a kernel is instantiated for it.
type Format struct {
	Kind  Kind
	Bits  int  // of a code
	Group int  // weights that share a scale; 0 where there is none
	F16   bool // affine scales and biases are F16, else BF16
}

// Args are a format's template arguments: KIND, BITS, GROUP, scale type.
func (f Format) Args() []string {
	scale := "uchar" // E8M0, or none
	switch {
	case f.Kind == Affine && f.F16:
		scale = "half"
	case f.Kind == Affine:
		scale = "bfloat"
	}
	return []string{fmt.Sprint(int(f.Kind)), fmt.Sprint(f.Bits), fmt.Sprint(f.Group), scale}
}
