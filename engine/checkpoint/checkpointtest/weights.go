package checkpointtest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"assay/engine/tensor"
)

// Tensors returns what Stored describes, with weights drawn from seed and the
// parameter's name. Matrices are of the order of 1/√in, so that a forward pass
// stays finite; norms lie around 1; a tid2eid table holds distinct experts in
// each row. An FP8 or FP4 weight differs in size from block to block, so that
// a scale taken from the wrong block shows. Its value is a code times a power
// of two, which BF16 and float32 hold exactly.
func Tensors(params []tensor.Param, seed uint64) ([]tensor.Tensor, error) {
	experts := map[string]int{} // of the router "....gate."
	for _, p := range params {
		if at, ok := strings.CutSuffix(p.Name, "gate.weight"); ok {
			experts[at+"gate."] = p.Shape[0]
		}
	}
	var out []tensor.Tensor
	for _, p := range params {
		d := newDraw(seed, p.Name)
		stored := Stored([]tensor.Param{p})
		var data [][]byte
		switch {
		case p.Native == tensor.FP8:
			codes, scales := d.fp8(p.Shape[0], p.Shape[1])
			data = [][]byte{codes, scales}
		case p.Native == tensor.FP4:
			codes, scales := d.fp4(p.Shape[0], p.Shape[1])
			data = [][]byte{codes, scales}
		case p.DType == tensor.I64:
			n := experts[strings.TrimSuffix(p.Name, "tid2eid")]
			if len(p.Shape) != 2 || n < p.Shape[1] {
				return nil, fmt.Errorf("checkpointtest: %s: %d experts for the table", p.Info, n)
			}
			data = [][]byte{d.table(p.Shape[0], p.Shape[1], n)}
		case p.DType == tensor.BF16 || p.DType == tensor.F32:
			data = [][]byte{d.plain(p.Info)}
		default:
			return nil, fmt.Errorf("checkpointtest: %s: no weights of this dtype", p.Info)
		}
		for i, info := range stored {
			out = append(out, tensor.Tensor{Info: info, Data: data[i]})
		}
	}
	return out, nil
}

// draw makes the weights of one parameter.
type draw struct{ *rand.Rand }

func newDraw(seed uint64, name string) draw {
	h := fnv.New64a()
	h.Write([]byte(name))
	return draw{rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// exponent returns the least e for which most·2^e holds the largest |v|,
// limited to what an E8M0 code means.
func exponent(v []float64, most float64) int {
	largest := 0.0
	for _, x := range v {
		largest = max(largest, math.Abs(x))
	}
	if largest == 0 {
		return 0
	}
	return int(math.Ceil(math.Log2(largest / most)))
}

// block returns n normal numbers of one of three sizes around 1/√in.
func (d draw) block(n, in int) []float64 {
	size := math.Exp2(float64(d.IntN(3)-1)) / math.Sqrt(float64(in))
	out := make([]float64, n)
	for i := range out {
		out[i] = size * d.NormFloat64()
	}
	return out
}

func (d draw) fp8(rows, cols int) (codes, scales []byte) {
	codes = make([]byte, rows*cols)
	for r := 0; r < rows; r += 128 {
		for c := 0; c < cols; c += 128 {
			high, wide := min(128, rows-r), min(128, cols-c)
			v := d.block(high*wide, cols)
			e := exponent(v, 448)
			scales = append(scales, byte(e+127))
			for i, x := range v {
				codes[(r+i/wide)*cols+c+i%wide] = tensor.E4M3FromFloat32(float32(math.Ldexp(x, -e)))
			}
		}
	}
	return codes, scales
}

func (d draw) fp4(rows, cols int) (codes, scales []byte) {
	for range rows * cols / 32 {
		v := d.block(32, cols)
		e := exponent(v, 6)
		scales = append(scales, byte(e+127))
		for i := 0; i < 32; i += 2 {
			lo := tensor.E2M1FromFloat32(float32(math.Ldexp(v[i], -e)))
			hi := tensor.E2M1FromFloat32(float32(math.Ldexp(v[i+1], -e)))
			codes = append(codes, lo|hi<<4)
		}
	}
	return codes, scales
}

func (d draw) table(rows, cols, experts int) []byte {
	var out []byte
	for range rows {
		for _, expert := range d.Perm(experts)[:cols] {
			out = binary.LittleEndian.AppendUint64(out, uint64(expert))
		}
	}
	return out
}

func (d draw) plain(info tensor.Info) []byte {
	mean, size := 0.0, 0.5
	switch {
	case len(info.Shape) == 2:
		size = 1 / math.Sqrt(float64(info.Shape[1]))
	case strings.HasSuffix(info.Name, ".weight") || strings.HasSuffix(info.Name, "_scale"):
		mean, size = 1, 0.1
	}
	out := make([]byte, 0, info.Bytes())
	for range info.Elements() {
		v := float32(mean + size*d.NormFloat64())
		if info.DType == tensor.BF16 {
			out = binary.LittleEndian.AppendUint16(out, tensor.BF16FromFloat32(v))
		} else {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
	}
	return out
}

// Find returns the tensor of a name, to be changed in place. It panics if there
// is none.
func Find(tensors []tensor.Tensor, name string) *tensor.Tensor {
	i := slices.IndexFunc(tensors, func(t tensor.Tensor) bool { return t.Name == name })
	if i < 0 {
		panic("checkpointtest: no tensor " + name)
	}
	return &tensors[i]
}
