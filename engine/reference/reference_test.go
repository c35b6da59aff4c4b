package reference_test

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"

	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
	"assay/engine/reference"
	"assay/engine/tensor"
)

func stored(name string, dtype tensor.DType, shape []int, data ...byte) tensor.Tensor {
	return tensor.Tensor{Info: tensor.Info{Name: name, DType: dtype, Shape: shape}, Data: data}
}

// of returns the reference of tensors that went through a file.
func of(t testing.TB, tensors ...tensor.Tensor) (*reference.Reference, error) {
	t.Helper()
	files, err := checkpointtest.Files([]byte(`{}`), tensors, 1)
	if err != nil {
		t.Fatal(err)
	}
	src, err := checkpoint.New(files)
	if err != nil {
		t.Fatal(err)
	}
	return reference.New(src)
}

func mustOf(t testing.TB, tensors ...tensor.Tensor) *reference.Reference {
	t.Helper()
	r, err := of(t, tensors...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// source is a tensor.Source without a file under it.
type source []tensor.Tensor

func (s source) Names() []string {
	var names []string
	for _, t := range s {
		names = append(names, t.Name)
	}
	return slices.Sorted(slices.Values(names))
}

func (s source) Tensor(name string) (tensor.Tensor, error) {
	for _, t := range s {
		if t.Name == name {
			return t, nil
		}
	}
	return tensor.Tensor{}, fs.ErrNotExist
}

func (s source) Info(name string) (tensor.Info, error) {
	t, err := s.Tensor(name)
	return t.Info, err
}

// weights returns both decodings of a parameter, which must agree.
func weights(t *testing.T, r *reference.Reference, name string) []float32 {
	t.Helper()
	w, err := r.Float32(name)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := r.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	again, err := decoded.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	for i := range w {
		if w[i] != again[i] { // −0 may be 0
			t.Fatalf("%s: weight %d is %v, and %v as BF16", name, i, w[i], again[i])
		}
	}
	if int64(len(w)) != decoded.Elements() || len(again) != len(w) {
		t.Fatalf("%s: %d weights and %d as BF16, want %d", name, len(w), len(again), decoded.Elements())
	}
	return w
}

// Source: the DeepSeek-V4 specification, section 2.3.
func TestSpotValues(t *testing.T) {
	r := mustOf(t,
		stored("w.weight", tensor.F8E4M3, []int{1, 7}, 0x01, 0x07, 0x08, 0x38, 0x3c, 0x7e, 0xfe),
		stored("w.scale", tensor.F8E8M0, []int{1, 1}, 127),
		stored("x.weight", tensor.I8, []int{1, 16}, 0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0x70),
		stored("x.scale", tensor.F8E8M0, []int{1, 1}, 128))
	want := []float32{0.001953125, 0.013671875, 0.015625, 1, 1.5, 448, -448}
	if got := weights(t, r, "w.weight"); !slices.Equal(got, want) {
		t.Errorf("FP8 %v, want %v", got, want)
	}
	// The byte 0x21 is 0.5 at the even element and 1 at the odd one; twice that
	// under the scale 128.
	want = make([]float32, 32)
	copy(want, []float32{1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12})
	want[31] = 12
	if got := weights(t, r, "x.weight"); !slices.Equal(got, want) {
		t.Errorf("FP4 %v, want %v", got, want)
	}
	if info, _ := r.Info("x.weight"); info.String() != "x.weight BF16[1,32]" {
		t.Errorf("%s, want x.weight BF16[1,32]", info)
	}
}

// A [300, 200] FP8 matrix has 3 rows of 2 scales: of the last blocks 44 rows
// and 72 columns are there.
func TestFP8BlocksLieAsTheirScales(t *testing.T) {
	codes := bytes.Repeat([]byte{0x38}, 300*200)
	r := mustOf(t,
		stored("w.weight", tensor.F8E4M3, []int{300, 200}, codes...),
		stored("w.scale", tensor.F8E8M0, []int{3, 2}, 127, 128, 129, 130, 131, 132))
	w := weights(t, r, "w.weight")
	for row := range 300 {
		for col := range 200 {
			want := float32(math.Exp2(float64(2*(row/128) + col/128)))
			if got := w[row*200+col]; got != want {
				t.Fatalf("row %d, column %d is %v, want %v", row, col, got, want)
			}
		}
	}
}

// A [3, 64] FP4 matrix has two scales a row.
func TestFP4GroupsLieAlongRows(t *testing.T) {
	r := mustOf(t,
		stored("w.weight", tensor.I8, []int{3, 32}, bytes.Repeat([]byte{0x22}, 96)...),
		stored("w.scale", tensor.F8E8M0, []int{3, 2}, 127, 128, 129, 130, 131, 132))
	for i, got := range weights(t, r, "w.weight") {
		if want := float32(math.Exp2(float64(i / 32))); got != want {
			t.Fatalf("weight %d is %v, want %v", i, got, want)
		}
	}
}

// Every code under every scale: the value is the product, exactly, or it is
// refused because BF16 has no such value.
func TestEveryCodeUnderEveryScale(t *testing.T) {
	check := func(dtype tensor.DType, codes []byte, scale, at int, value float32) {
		r, err := reference.New(source{
			stored("w.weight", dtype, []int{1, len(codes)}, codes...),
			stored("w.scale", tensor.F8E8M0, []int{1, 1}, byte(scale)),
		})
		if err != nil {
			t.Fatal(err)
		}
		checkProduct(t, r, at, float64(value), scale)
	}
	for scale := range 256 {
		for code := range 256 {
			check(tensor.F8E4M3, []byte{byte(code)}, scale, 0, tensor.E4M3ToFloat32(byte(code)))
		}
		for code := range 16 {
			pairs := make([]byte, 16)
			pairs[0] = byte(code) << 4
			check(tensor.I8, pairs, scale, 1, tensor.E2M1ToFloat32(byte(code)))
		}
	}
}

func checkProduct(t *testing.T, r *reference.Reference, at int, value float64, scale int) {
	t.Helper()
	want := math.Ldexp(value, scale-127)
	// BF16 values: eight significant bits, a unit of 2^-133 or more, below 2^128.
	_, exponent := math.Frexp(want)
	unit := math.Ldexp(1, max(exponent-8, -133))
	holds := scale != 255 && want == want && math.Abs(want) < 0x1p128 && math.Mod(want, unit) == 0
	w, err := r.Float32("w.weight")
	_, errTensor := r.Tensor("w.weight")
	_, _, errStored := storedRows(r, "w.weight")
	switch {
	case (err == nil) != holds || (errTensor == nil) != holds || (errStored == nil) != holds:
		t.Fatalf("%v under scale %d: errors %v, %v, %v", value, scale, err, errTensor, errStored)
	case holds && float64(w[at]) != want:
		t.Fatalf("%v under scale %d is %v, want %v", value, scale, w[at], want)
	}
}

func TestRefusedValues(t *testing.T) {
	fp8 := func(row, col int, code, scale byte) []tensor.Tensor {
		w := stored("w.weight", tensor.F8E4M3, []int{130, 260}, make([]byte, 130*260)...)
		w.Data[row*260+col] = code
		s := stored("w.scale", tensor.F8E8M0, []int{2, 3}, 127, 127, 127, 127, 127, 127)
		s.Data[row/128*3+col/128] = scale
		return []tensor.Tensor{w, s}
	}
	fp4 := func(row, col int, code, scale byte) []tensor.Tensor {
		w := stored("w.weight", tensor.I8, []int{3, 32}, make([]byte, 96)...)
		w.Data[(row*64+col)/2] = code << (4 * (col & 1))
		s := stored("w.scale", tensor.F8E8M0, []int{3, 2}, 127, 127, 127, 127, 127, 127)
		s.Data[row*2+col/32] = scale
		return []tensor.Tensor{w, s}
	}
	plain := func(dtype tensor.DType, shape []int, data ...byte) []tensor.Tensor {
		return []tensor.Tensor{stored("w.weight", dtype, shape, data...)}
	}
	f32 := func(f float64) []byte {
		return binary.LittleEndian.AppendUint32(make([]byte, 8), math.Float32bits(float32(f)))
	}
	for name, c := range map[string]struct {
		tensors []tensor.Tensor
		want    string
	}{
		"NaN code":             {fp8(129, 259, 0x7f, 127), "row 129, column 259: not a number (code 0x7f)"},
		"negative NaN code":    {fp8(0, 130, 0xff, 127), "row 0, column 130: not a number (code 0xff)"},
		"scale 255":            {fp8(128, 128, 0, 255), `row 128, column 128: scale "w.scale" is not a number (code 255)`},
		"scale 255 of FP4":     {fp4(2, 32, 0, 255), `row 2, column 32: scale "w.scale" is not a number (code 255)`},
		"FP4 above BF16":       {fp4(1, 33, 2<<0, 255-1), ""},
		"FP4 two above BF16":   {fp4(1, 33, 4, 254), "row 1, column 33: 2·2^127 is not a BF16 value"},
		"FP8 above BF16":       {fp8(5, 5, 0x7e, 247), "row 5, column 5: 448·2^120 is not a BF16 value"},
		"FP8 under BF16":       {fp8(5, 5, 0x01, 0), "row 5, column 5: 0.001953125·2^-127 is not a BF16 value"},
		"BF16 Inf":             {plain(tensor.BF16, []int{2, 2}, 0, 0, 0, 0, 0x80, 0x7f, 0, 0), "row 1, column 0: not finite (BF16 code 0x7f80)"},
		"BF16 NaN at the end":  {plain(tensor.BF16, []int{5}, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff), "element [4]: not finite (BF16 code 0xffc0)"},
		"F32 NaN":              {plain(tensor.F32, []int{1, 3}, f32(math.NaN())...), "row 0, column 2: not finite (F32 code 0x7fc00000)"},
		"F32 -Inf":             {plain(tensor.F32, []int{1, 1, 3}, f32(math.Inf(-1))...), "element [0 0 2]: not finite (F32 code 0xff800000)"},
		"F16 Inf":              {plain(tensor.F16, []int{1}, 0, 0x7c), "element [0]: not finite (F16 code 0x7c00)"},
		"F64 NaN":              {plain(tensor.F64, []int{1}, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f), "element [0]: not finite (F64 code 0x7ff8000000000000)"},
		"scalar F32 Inf":       {plain(tensor.F32, []int{}, 0, 0, 0x80, 0x7f), "element []: not finite"},
		"F32 largest":          {plain(tensor.F32, []int{3}, f32(math.MaxFloat32)...), ""},
		"F16 largest":          {plain(tensor.F16, []int{2}, 0xff, 0x7b, 0xff, 0xfb), ""},
		"BF16 largest":         {plain(tensor.BF16, []int{2}, 0x7f, 0x7f, 0x7f, 0xff), ""},
		"largest under 2^127":  {fp8(5, 5, 0x3f, 254), ""},
		"smallest that exists": {fp8(5, 5, 0x08, 0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := mustOf(t, c.tensors...)
			_, err := r.Tensor("w.weight")
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), `reference: tensor "w.weight": `+c.want)):
				t.Errorf("error %v, want %s", err, c.want)
			}
			if c.tensors[0].DType == tensor.F64 {
				return
			}
			if _, err2 := r.Float32("w.weight"); (err == nil) != (err2 == nil) {
				t.Errorf("Tensor errs with %v, Float32 with %v", err, err2)
			}
		})
	}
}

func TestRefusedHeaders(t *testing.T) {
	scale := func(name string, shape ...int) tensor.Tensor {
		return stored(name, tensor.F8E8M0, shape, make([]byte, tensor.Info{Shape: shape}.Elements())...)
	}
	of8 := func(name string, shape ...int) tensor.Tensor {
		return stored(name, tensor.F8E4M3, shape, make([]byte, tensor.Info{Shape: shape}.Elements())...)
	}
	of4 := func(name string, shape ...int) tensor.Tensor {
		return stored(name, tensor.I8, shape, make([]byte, tensor.Info{Shape: shape}.Elements())...)
	}
	for name, c := range map[string]struct {
		tensors []tensor.Tensor
		want    string
	}{
		"no scale":                    {[]tensor.Tensor{of8("w.weight", 2, 2)}, `tensor "w.weight": scale "w.scale" is missing`},
		"no FP4 scale":                {[]tensor.Tensor{of4("w.weight", 2, 16)}, `tensor "w.weight": scale "w.scale" is missing`},
		"two scales":                  {[]tensor.Tensor{of8("w.weight", 2, 2), scale("w.scale", 1, 1), scale("w.weight_scale_inv", 1, 1)}, `tensor "w.weight": two scales, "w.scale" and "w.weight_scale_inv"`},
		"no weight":                   {[]tensor.Tensor{scale("w.scale", 1, 1)}, `tensor "w.scale" is a scale of no FP8 or FP4 weight`},
		"no legacy":                   {[]tensor.Tensor{scale("w.weight_scale_inv", 1, 1)}, `tensor "w.weight_scale_inv" is a scale of no FP8 or FP4 weight`},
		"E8M0 elsewhere":              {[]tensor.Tensor{scale("w.exponents", 1, 1)}, `tensor "w.exponents" is a scale of no FP8 or FP4 weight`},
		"plain weight":                {[]tensor.Tensor{stored("w.weight", tensor.BF16, []int{1}, 0, 0), scale("w.scale", 1, 1)}, `tensor "w.scale" is a scale of no FP8 or FP4 weight`},
		"F32 scale":                   {[]tensor.Tensor{of8("w.weight", 2, 2), stored("w.scale", tensor.F32, []int{1, 1}, 0, 0, 0, 0)}, `tensor "w.weight": scale "w.scale": F32 [1 1], want F8_E8M0 [1 1]`},
		"turned scale":                {[]tensor.Tensor{of8("w.weight", 129, 2), scale("w.scale", 1, 2)}, `tensor "w.weight": scale "w.scale": F8_E8M0 [1 2], want F8_E8M0 [2 1]`},
		"flat scale":                  {[]tensor.Tensor{of8("w.weight", 129, 2), scale("w.scale", 2)}, `tensor "w.weight": scale "w.scale": F8_E8M0 [2], want F8_E8M0 [2 1]`},
		"FP4 scale short":             {[]tensor.Tensor{of4("w.weight", 2, 32), scale("w.scale", 2, 1)}, `tensor "w.weight": scale "w.scale": F8_E8M0 [2 1], want F8_E8M0 [2 2]`},
		"FP4 ragged":                  {[]tensor.Tensor{of4("w.weight", 2, 24), scale("w.scale", 2, 2)}, `tensor "w.weight": rows of 48 FP4 weights, want a multiple of 32`},
		"FP8 vector":                  {[]tensor.Tensor{of8("w.weight", 4), scale("w.scale", 1)}, `tensor "w.weight": shape [4] of F8_E4M3, want a matrix`},
		"FP8 cube":                    {[]tensor.Tensor{of8("w.weight", 2, 2, 2), scale("w.scale", 1, 1)}, `tensor "w.weight": shape [2 2 2] of F8_E4M3, want a matrix`},
		"FP8 without a weight's name": {[]tensor.Tensor{of8("w", 2, 2), scale("w.scale", 1, 1)}, `tensor "w": F8_E4M3 without the name of a weight`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := of(t, c.tensors...); err == nil || err.Error() != "reference: "+c.want {
				t.Errorf("error %v\nwant  reference: %s", err, c.want)
			}
		})
	}
}

func TestLegacyScaleNames(t *testing.T) {
	r := mustOf(t,
		stored("w.weight", tensor.F8E4M3, []int{1, 2}, 0x38, 0xb8),
		stored("w.weight_scale_inv", tensor.F8E8M0, []int{1, 1}, 126))
	if got := weights(t, r, "w.weight"); !slices.Equal(got, []float32{0.5, -0.5}) {
		t.Errorf("%v, want [0.5 -0.5]", got)
	}
	if !slices.Equal(r.Names(), []string{"w.weight"}) {
		t.Errorf("names %v", r.Names())
	}
}

func TestOtherTensorsPassThrough(t *testing.T) {
	table := make([]byte, 32)
	for i, id := range []uint64{3, 1, 0, 2} {
		binary.LittleEndian.PutUint64(table[8*i:], id)
	}
	r := mustOf(t,
		stored("gate.tid2eid", tensor.I64, []int{2, 2}, table...),
		stored("hc_attn_scale", tensor.F32, []int{1}, 0, 0, 0x80, 0x3f),
		stored("m.weight", tensor.F32, []int{1, 2}, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40),
		stored("h.weight", tensor.F16, []int{1, 2}, 0, 0x3c, 0, 0x40))
	tid, err := r.Tensor("gate.tid2eid")
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := tid.Int64s(); err != nil || !slices.Equal(ids, []int64{3, 1, 0, 2}) {
		t.Errorf("experts %v, %v", ids, err)
	}
	for name, dtype := range map[string]tensor.DType{"m.weight": tensor.F32, "h.weight": tensor.F16} {
		if got := weights(t, r, name); !slices.Equal(got, []float32{1, 2}) {
			t.Errorf("%s: %v, want [1 2]", name, got)
		}
		if info, _ := r.Info(name); info.DType != dtype || r.Native(name) != tensor.Plain {
			t.Errorf("%s: native %q", info, r.Native(name))
		}
	}
	if _, err := r.Float32("gate.tid2eid"); err == nil {
		t.Error("an I64 table as float32")
	}
	if _, _, err := storedRows(r, "m.weight"); err == nil || err.Error() != `reference: tensor "m.weight": F32 has no scale` {
		t.Errorf("error %v", err)
	}
}

func TestUnknownNames(t *testing.T) {
	r := mustOf(t, stored("w.weight", tensor.F8E4M3, []int{1, 1}, 0), stored("w.scale", tensor.F8E8M0, []int{1, 1}, 127))
	for _, name := range []string{"v.weight", "w.scale", ""} {
		_, err1 := r.Info(name)
		_, err2 := r.Tensor(name)
		_, err3 := r.Float32(name)
		_, _, err4 := storedRows(r, name)
		for _, err := range []error{err1, err2, err3, err4} {
			if err == nil || err.Error() != `reference: no tensor "`+name+`"` {
				t.Errorf("%q: error %v", name, err)
			}
		}
		if r.Native(name) != tensor.Plain {
			t.Errorf("%q is %q", name, r.Native(name))
		}
	}
}

// The tiny model of the specification, section 7.2: everything decodes, each
// weight is what its stored code and scale say, and the MTP block may be left
// out.
func TestTinyModel(t *testing.T) {
	config, err := dsv4.ParseConfig(checkpointtest.TinyConfig())
	if err != nil {
		t.Fatal(err)
	}
	params := dsv4.Params(config)
	main := slices.DeleteFunc(slices.Clone(params), func(p tensor.Param) bool { return p.MTP })
	for name, params := range map[string][]tensor.Param{"with MTP": params, "without": main} {
		dir := t.TempDir()
		if err := checkpointtest.Write(dir, checkpointtest.TinyConfig(), params, 7, 3); err != nil {
			t.Fatal(err)
		}
		src, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		r, err := reference.New(src)
		if err != nil {
			t.Fatal(err)
		}
		if err := dsv4.Check(config, r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, p := range params {
			if r.Native(p.Name) != p.Native {
				t.Errorf("%s is %q, want %q", p.Name, r.Native(p.Name), p.Native)
			}
			if p.DType != tensor.I64 {
				checkStored(t, r, p, weights(t, r, p.Name))
			}
		}
	}
}

// storedRows returns all rows of a weight as stored, and their scales.
func storedRows(r *reference.Reference, name string) (weight, scale []byte, err error) {
	info, err := r.Info(name)
	if err != nil {
		return nil, nil, err
	}
	return r.StoredRows(name, 0, info.Shape[0])
}

// checkStored works every 97th weight out from StoredRows, one at a time.
func checkStored(t *testing.T, r *reference.Reference, p tensor.Param, got []float32) {
	t.Helper()
	if p.Native == tensor.Plain {
		return
	}
	w, s, err := storedRows(r, p.Name)
	if err != nil {
		t.Fatal(err)
	}
	cols := p.Shape[1]
	for i := 0; i < len(got); i += 97 {
		row, col := i/cols, i%cols
		value := tensor.E4M3ToFloat32(w[min(i, len(w)-1)])
		scale := s[min(row/128*((cols+127)/128)+col/128, len(s)-1)]
		if p.Native == tensor.FP4 {
			value = tensor.E2M1ToFloat32(w[i/2] >> (col % 2 * 4) & 15)
			scale = s[i/32]
		}
		if want := math.Ldexp(float64(value), int(scale)-127); float64(got[i]) != want {
			t.Fatalf("%s: row %d, column %d is %v, want %v", p.Name, row, col, got[i], want)
		}
	}
}

func benchmark(b *testing.B, native tensor.Native, decode func(*reference.Reference) error) {
	p := tensor.Param{Info: tensor.Info{Name: "w.weight", DType: tensor.BF16, Shape: []int{2048, 4096}}, Native: native}
	tensors, err := checkpointtest.Tensors([]tensor.Param{p}, 1)
	if err != nil {
		b.Fatal(err)
	}
	r := mustOf(b, tensors...)
	for b.Loop() {
		if err := decode(r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(p.Elements())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mweight/s")
}

func BenchmarkDecode(b *testing.B) {
	float32s := func(r *reference.Reference) error { _, err := r.Float32("w.weight"); return err }
	bf16 := func(r *reference.Reference) error { _, err := r.Tensor("w.weight"); return err }
	check := func(r *reference.Reference) error { _, _, err := storedRows(r, "w.weight"); return err }
	b.Run("of=fp8/to=float32", func(b *testing.B) { benchmark(b, tensor.FP8, float32s) })
	b.Run("of=fp8/to=bf16", func(b *testing.B) { benchmark(b, tensor.FP8, bf16) })
	b.Run("of=fp8/to=stored", func(b *testing.B) { benchmark(b, tensor.FP8, check) })
	b.Run("of=fp4/to=float32", func(b *testing.B) { benchmark(b, tensor.FP4, float32s) })
	b.Run("of=fp4/to=bf16", func(b *testing.B) { benchmark(b, tensor.FP4, bf16) })
	b.Run("of=fp4/to=stored", func(b *testing.B) { benchmark(b, tensor.FP4, check) })
	b.Run("of=bf16/to=bf16", func(b *testing.B) { benchmark(b, tensor.Plain, bf16) })
	b.Run("of=bf16/to=float32", func(b *testing.B) { benchmark(b, tensor.Plain, float32s) })
}
