package synth

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"assay/engine/tensor"
)

const (
	grid    = 16      // sizes are powers of 2^(1/grid)
	quants  = 1 << 15 // quantiles of |z| that weights take
	span    = 32      // columns that share a block factor
	outlier = 4096    // one row of so many is an octave larger
	version = "assay synth 1\n"
)

// draw makes the random numbers of one chunk. They depend on seed, parameter
// and chunk alone, so cores and interruptions change no byte. PCG's sequence is
// fixed by its definition.
type draw struct{ rand.PCG }

func newDraw(seed uint64, name string, chunk int) *draw {
	b := append([]byte(version), binary.LittleEndian.AppendUint64(nil, seed)...)
	b = binary.LittleEndian.AppendUint64(b, uint64(chunk))
	sum := sha256.Sum256(append(b, name...))
	return &draw{*rand.NewPCG(binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:]))}
}

// below returns a number from 0 to n-1, each with the chance 1/n ± 2^-32.
func (d *draw) below(n int) int {
	hi := d.Uint64() >> 32
	return int(hi * uint64(n) >> 32)
}

// tables are the numbers that all draws look up. They are rounded to grids far
// coarser than float64, so that every machine computes the same.
var tables = sync.OnceValue(func() *lookup {
	t := &lookup{}
	for i := range t.normal {
		t.normal[i] = float32(math.Round(4096*absNormal(float64(i), quants)) / 4096)
	}
	for i := range t.size {
		t.size[i] = float32(math.Exp2(float64(i) / grid))
	}
	return t
})

type lookup struct {
	normal [quants]float32 // quantiles of |z|, z ~ N(0, 1), ascending; the last is 4.32
	size   [grid]float32   // 2^(i/grid)
}

// absNormal returns quantile (i + ½)/n of |z|, z ~ N(0, 1).
func absNormal(i, n float64) float64 { return math.Sqrt2 * math.Erfinv((i+0.5)/n) }

// z returns a normal number from 16 random bits: sign, then quantile.
func (t *lookup) z(bits uint16) float32 {
	return math.Float32frombits(math.Float32bits(t.normal[bits&(quants-1)]) | uint32(bits>>15)<<31)
}

// power returns 2^(sixteenths/16), which must be a normal float32.
func (t *lookup) power(sixteenths int) float32 {
	return math.Float32frombits(math.Float32bits(t.size[sixteenths&(grid-1)]) + uint32(sixteenths>>4)<<23)
}

// spread is a normal number of octaves, in sixteenths, by 8 random bits.
type spread [256]int8

func newSpread(octaves float64) *spread {
	s := &spread{}
	for i := range s {
		v := absNormal(float64(i>>1), 128)
		if i&1 != 0 {
			v = -v
		}
		s[i] = int8(math.Round(max(-127, min(127, grid*octaves*v))))
	}
	return s
}

// row returns the size of a row, in sixteenths of an octave.
func (d *draw) row(base int, rows *spread) int {
	bits := d.Uint64()
	base += int(rows[bits&255])
	if bits>>8%outlier == 0 {
		base += grid
	}
	return base
}

// plain fills a matrix of BF16 or F32, [rows, cols].
func (d *draw) plain(dst []byte, dtype tensor.DType, cols, base int, rows, blocks *spread) {
	t := tables()
	size := dtype.Size()
	for row := range slices.Chunk(dst, cols*size) {
		at := d.row(base, rows)
		for part := range slices.Chunk(row, span*size) {
			s := t.power(at + int(blocks[d.Uint64()&255]))
			d.part(part, dtype, s)
		}
	}
}

// part fills weights of one size, four of 64 bits.
func (d *draw) part(dst []byte, dtype tensor.DType, s float32) {
	t := tables()
	for dtype == tensor.BF16 && len(dst) >= 8 {
		binary.LittleEndian.PutUint64(dst, t.four(d.Uint64(), s))
		dst = dst[8:]
	}
	for i, bits := 0, uint64(0); len(dst) > 0; i++ {
		if i%4 == 0 {
			bits = d.Uint64()
		}
		put(dst, dtype, t.z(uint16(bits))*s)
		bits >>= 16
		dst = dst[dtype.Size():]
	}
}

// four returns four BF16 weights of size s from 64 bits, which is most of the
// time that embedding and head take.
func (t *lookup) four(bits uint64, s float32) uint64 {
	a := tensor.BF16FromFloat32(t.z(uint16(bits)) * s)
	b := tensor.BF16FromFloat32(t.z(uint16(bits>>16)) * s)
	c := tensor.BF16FromFloat32(t.z(uint16(bits>>32)) * s)
	d := tensor.BF16FromFloat32(t.z(uint16(bits>>48)) * s)
	return uint64(a) | uint64(b)<<16 | uint64(c)<<32 | uint64(d)<<48
}

// vector fills a vector of BF16 or F32.
func (d *draw) vector(dst []byte, dtype tensor.DType, l law) {
	t := tables()
	for part := range slices.Chunk(dst, dtype.Size()) {
		bits := d.Uint64()
		// Two roundings: the product must not be fused with the sum.
		v := float32(l.mean) + float32(float32(l.size)*t.z(uint16(bits)))
		if float64(bits>>16) < l.spikes*(1<<48) {
			v += 4
		}
		put(part, dtype, v)
	}
}

func put(dst []byte, dtype tensor.DType, v float32) {
	if dtype == tensor.BF16 {
		binary.LittleEndian.PutUint16(dst, tensor.BF16FromFloat32(v))
	} else {
		binary.LittleEndian.PutUint32(dst, math.Float32bits(v))
	}
}

// table fills rows of cols distinct numbers below n, as I64.
func (d *draw) table(dst []byte, cols, n int) {
	for row := range slices.Chunk(dst, 8*cols) {
	next:
		for i := 0; i < len(row); {
			v := uint64(d.below(n))
			for k := 0; k < i; k += 8 {
				if binary.LittleEndian.Uint64(row[k:]) == v {
					continue next
				}
			}
			binary.LittleEndian.PutUint64(row[i:], v)
			i += 8
		}
	}
}
