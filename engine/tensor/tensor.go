// Package tensor is what every stage of the weights shares: named arrays with
// a type and a shape, the matrices and formats that hold weights, and the
// number formats of the field. It reads no file and knows no model.
package tensor

import (
	"fmt"
	"strings"
)

// IndexFile names the file of a checkpoint or bundle that says which shard holds
// which tensor.
const IndexFile = "model.safetensors.index.json"

// WeightSuffix ends the name of a parameter that is a weight.
const WeightSuffix = ".weight"

// DType is the type of a stored array's elements.
type DType string

// The element types of safetensors files that assay reads or writes, by the
// names that the files use. FP4 weights are stored as I8, two codes a byte.
const (
	F64    DType = "F64"
	F32    DType = "F32"
	F16    DType = "F16"
	BF16   DType = "BF16"
	F8E4M3 DType = "F8_E4M3"
	F8E8M0 DType = "F8_E8M0"
	I64    DType = "I64"
	I32    DType = "I32"
	I16    DType = "I16"
	I8     DType = "I8"
	U64    DType = "U64"
	U32    DType = "U32"
	U16    DType = "U16"
	U8     DType = "U8"
	Bool   DType = "BOOL"
)

var dtypeSize = map[DType]int{
	F64: 8, I64: 8, U64: 8, F32: 4, I32: 4, U32: 4, F16: 2, BF16: 2, I16: 2, U16: 2,
	F8E4M3: 1, F8E8M0: 1, I8: 1, U8: 1, Bool: 1,
}

// Size returns the bytes of one element, or 0 if assay does not know the type.
func (d DType) Size() int { return dtypeSize[d] }

// Info describes an array without its bytes.
type Info struct {
	Name  string
	DType DType
	Shape []int // row-major; empty for a scalar
}

// Elements returns the product of the shape.
func (i Info) Elements() int64 {
	n := int64(1)
	for _, d := range i.Shape {
		n *= int64(d)
	}
	return n
}

// Bytes returns the stored bytes of the array.
func (i Info) Bytes() int64 { return i.Elements() * int64(i.DType.Size()) }

func (i Info) String() string {
	dims := make([]string, len(i.Shape))
	for k, d := range i.Shape {
		dims[k] = fmt.Sprint(d)
	}
	return fmt.Sprintf("%s %s[%s]", i.Name, i.DType, strings.Join(dims, ","))
}

// Tensor is an array with its bytes: little-endian, row-major. Data may be a
// view of a file; it is read only and valid as long as its Source is open.
type Tensor struct {
	Info
	Data []byte
}

// Source is one stage of the weights: the files as stored, or what they decode
// to. It serves many goroutines.
type Source interface {
	// Names returns the names of all tensors, sorted. The caller must not change it.
	Names() []string
	// Info describes a tensor without reading it. It errs on an unknown name.
	Info(name string) (Info, error)
	// Tensor returns a tensor with its bytes. It errs on an unknown name and
	// on bytes that cannot be decoded.
	Tensor(name string) (Tensor, error)
}

// Class is the part that a tensor plays in the model. A recipe gives formats
// by class.
type Class string

// The classes of a mixture-of-experts transformer. Which of them a recipe may
// quantize is Quantizable.
const (
	Embedding    Class = "embedding"     // token embedding
	Head         Class = "head"          // output projection to the vocabulary
	Attention    Class = "attention"     // query, key/value and output projections
	Compressor   Class = "compressor"    // projections that pool keys over blocks
	Indexer      Class = "indexer"       // projections that choose pooled blocks
	SharedExpert Class = "shared-expert" // expert that every token takes
	RoutedExpert Class = "routed-expert" // experts that the router chooses among
	NextToken    Class = "mtp"           // projections of the multi-token-prediction block
	Router       Class = "router"        // router matrix, bias and token table
	Norm         Class = "norm"          // RMS norm weights
	Hyper        Class = "hyper"         // mHC mixing weights
	Control      Class = "control"       // sinks and position biases
)

// Quantizable says whether a recipe may change the class's format. Routers,
// norms, mHC weights, sinks and position biases stay as they are.
func (c Class) Quantizable() bool {
	switch c {
	case Embedding, Head, Attention, Compressor, Indexer, SharedExpert, RoutedExpert, NextToken:
		return true
	}
	return false
}

// Native is how the upstream checkpoint stores a parameter.
type Native string

// The ways in which a checkpoint stores a parameter.
const (
	Plain Native = ""    // in its own dtype
	FP8   Native = "fp8" // E4M3 with one E8M0 scale for each 128 x 128 block
	FP4   Native = "fp4" // E2M1 with one E8M0 scale for each 32 weights of a row
)

// How many weights share a scale in a checkpoint.
const (
	FP8Block = 128 // rows, and columns, of a block of FP8
	FP4Group = 32  // weights of a row of FP4
)

// Param is one parameter of a model as its config alone determines it.
type Param struct {
	Info          // as decoded: BF16, F32 or I64; shape is [out, in] for a matrix
	Class  Class  //
	Native Native // how the checkpoint stores it
	Layer  int    // of the main model, or -1 outside its layers
	MTP    bool   // belongs to the multi-token-prediction block, which scoring leaves out
	// One decoded token reads Reads[0] of every Reads[1] bytes: {6, 256} for an
	// expert of 256 of which six are taken, {1, rows} for a table.
	Reads [2]int64
}

// Stored returns the arrays that the checkpoint stores for p: p itself or, for
// FP8 and FP4, its codes and, after them, its E8M0 scales.
func (p Param) Stored() []Info {
	scale := Info{Name: strings.TrimSuffix(p.Name, WeightSuffix) + ".scale", DType: F8E8M0}
	blocks := func(n int) int { return (n + FP8Block - 1) / FP8Block }
	switch p.Native {
	case FP8:
		scale.Shape = []int{blocks(p.Shape[0]), blocks(p.Shape[1])}
		return []Info{{Name: p.Name, DType: F8E4M3, Shape: p.Shape}, scale}
	case FP4:
		scale.Shape = []int{p.Shape[0], p.Shape[1] / FP4Group}
		return []Info{{Name: p.Name, DType: I8, Shape: []int{p.Shape[0], p.Shape[1] / 2}}, scale}
	}
	return []Info{p.Info}
}

// StoredBytes returns what the checkpoint itself takes for p, its scales counted.
func (p Param) StoredBytes() int64 {
	n := int64(0)
	for _, i := range p.Stored() {
		n += i.Bytes()
	}
	return n
}

// Format is how the weights of a matrix are stored: what they cost and how a
// row becomes numbers again. Backends know some formats by type and may run
// any other through DecodeRow.
type Format interface {
	// String names the format, such as "affine 4-bit g64".
	String() string
	// Check errs if a [rows, cols] matrix cannot have this format.
	Check(rows, cols int) error
	// Sizes returns the stored bytes of a [rows, cols] matrix, by part.
	Sizes(rows, cols int) (codes, scales, biases int64)
	// DecodeRow writes the cols weights of one row to dst, as float32.
	DecodeRow(dst []float32, m *Matrix, row int)
}

// FormatBytes returns the stored bytes of a [rows, cols] matrix in a format,
// scales and biases counted.
func FormatBytes(f Format, rows, cols int) int64 {
	codes, scales, biases := f.Sizes(rows, cols)
	return codes + scales + biases
}

// Matrix is a weight matrix [Rows, Cols] in its stored format; y = x·Wᵀ.
type Matrix struct {
	Name       string
	Rows, Cols int
	Format     Format
	Codes      []byte // the weights, row by row
	Scales     []byte // one a group, row by row; nil where the format has none
	Biases     []byte // likewise
}

// Bytes returns the bytes that m holds.
func (m *Matrix) Bytes() int64 { return int64(len(m.Codes) + len(m.Scales) + len(m.Biases)) }

// Check errs unless each of m's byte slices is as long as its format says.
func (m *Matrix) Check() error {
	if err := m.Format.Check(m.Rows, m.Cols); err != nil {
		return fmt.Errorf("tensor: %s: %w", m.Name, err)
	}
	codes, scales, biases := m.Format.Sizes(m.Rows, m.Cols)
	if int64(len(m.Codes)) != codes || int64(len(m.Scales)) != scales || int64(len(m.Biases)) != biases {
		return fmt.Errorf("tensor: %s: %d bytes of codes, %d of scales, %d of biases for %s [%d, %d], want %d, %d and %d",
			m.Name, len(m.Codes), len(m.Scales), len(m.Biases), m.Format, m.Rows, m.Cols, codes, scales, biases)
	}
	return nil
}

// Decode returns all weights of m as float32 [Rows, Cols].
func (m *Matrix) Decode() []float32 {
	out := make([]float32, m.Rows*m.Cols)
	for r := range m.Rows {
		m.Format.DecodeRow(out[r*m.Cols:(r+1)*m.Cols], m, r)
	}
	return out
}
