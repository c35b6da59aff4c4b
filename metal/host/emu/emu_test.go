package emu

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"assay/metal/host"
	"assay/metal/msl"
)

// open makes a device, or skips the test where there can be none.
func open(t *testing.T, opt Options) *Device {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("emu runs on Linux")
	}
	d, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// builds are the ways to compile kernels.
var builds = map[string]Options{
	"fast":             {},
	"checked":          {Checked: true, Seed: 1},
	"perturbed":        {Perturb: true, Seed: 2},
	"perturbedFused":   {Perturb: true, Seed: 77},
	"checkedPerturbed": {Checked: true, Perturb: true, Seed: 5},
}

// program reads a file of testdata with instances.
func program(t *testing.T, file string, instances ...msl.Instance) host.Program {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	p := host.Program{Source: msl.Program([]msl.File{{Name: file, Text: string(text)}}, instances)}
	src, err := msl.Parse(p.Source)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range src.Instances {
		p.Kernels = append(p.Kernels, in.Name)
	}
	return p
}

var tinyInstances = []msl.Instance{
	{Name: "scale_f32", Kernel: "scale", Args: []string{"float", "64"}},
	{Name: "scale_bf16", Kernel: "scale", Args: []string{"bfloat", "128"}},
	{Name: "product_f32", Kernel: "product", Args: []string{"float"}},
	{Name: "product_f16", Kernel: "product", Args: []string{"half"}},
	{Name: "product_bf16", Kernel: "product", Args: []string{"bfloat"}},
}

// tiny opens a device with the kernels of tiny.metal.
func tiny(t *testing.T, opt Options) *Device {
	t.Helper()
	d := open(t, opt)
	if err := d.Compile(t.Context(), program(t, "tiny.metal", tinyInstances...)); err != nil {
		t.Fatal(err)
	}
	return d
}

func floats(t *testing.T, d *Device, v ...float32) *Buffer {
	t.Helper()
	b, err := d.NewBuffer(int64(4 * len(v)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Free)
	for i, x := range v {
		binary.LittleEndian.PutUint32(b.Bytes()[4*i:], math.Float32bits(x))
	}
	return b.(*Buffer)
}

// poisoned makes a buffer of n NaNs.
func poisoned(t *testing.T, d *Device, n int) *Buffer {
	t.Helper()
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(math.NaN())
	}
	return floats(t, d, v...)
}

func read(t *testing.T, b *Buffer) []float32 {
	t.Helper()
	raw := make([]byte, b.Len())
	if err := b.Read(0, raw); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

func in(b host.Buffer) host.Arg {
	return host.Arg{Buffer: b, Uses: []host.Use{{Len: b.Len(), Access: host.Read}}}
}

func out(b host.Buffer) host.Arg {
	return host.Arg{Buffer: b, Uses: []host.Use{{Len: b.Len(), Access: host.Write}}}
}

type scaleArgs struct {
	N    uint32
	By   float32
	From uint64
}

func (a scaleArgs) arg() host.Arg {
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, a.N)
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(a.By))
	return host.Arg{Bytes: binary.LittleEndian.AppendUint64(b, a.From)}
}

func rowArgs(rows, cols int) host.Arg {
	return host.Arg{Bytes: binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(rows)), uint32(cols))}
}

// TestScaleAndSum runs two kernels, the second on what the first wrote, through
// the encoder, on every build. The numbers are exact in any order of the sum.
func TestScaleAndSum(t *testing.T) {
	const rows, cols = 5, 203
	for name, opt := range builds {
		t.Run(name, func(t *testing.T) {
			d := tiny(t, opt)
			v := make([]float32, rows*cols+3)
			want := make([]float32, rows)
			for i := range v {
				v[i] = float32(i%17) - 4
				if i >= 3 {
					want[(i-3)/cols] += 2 * v[i]
				}
			}
			x, y, z := floats(t, d, v...), poisoned(t, d, rows*cols), poisoned(t, d, rows)
			e := host.NewEncoder(d)
			e.Add(host.Dispatch{Kernel: "scale_f32", Label: "first", Grid: [3]int{(rows*cols + 63) / 64, 1, 1}, Threads: 64,
				Args: []host.Arg{in(x), out(y), scaleArgs{rows * cols, 2, 3}.arg()}})
			e.Add(host.Dispatch{Kernel: "row_sums", Label: "second", Grid: [3]int{rows, 1, 1}, Threads: 96,
				Args: []host.Arg{in(y), out(z), rowArgs(rows, cols)}})
			if err := e.Wait(); err != nil {
				t.Fatal(err)
			}
			for r, got := range read(t, z) {
				if got != want[r] {
					t.Errorf("row %d sums to %g, want %g", r, got, want[r])
				}
			}
		})
	}
}

// TestRefusals has what no dispatch may ask for.
func TestRefusals(t *testing.T) {
	d := tiny(t, Options{})
	x, y := floats(t, d, make([]float32, 64)...), floats(t, d, make([]float32, 64)...)
	good := func() host.Dispatch {
		return host.Dispatch{Kernel: "scale_f32", Label: "here", Grid: [3]int{1, 1, 1}, Threads: 64,
			Args: []host.Arg{in(x), out(y), scaleArgs{64, 1, 0}.arg()}}
	}
	if err := d.Submit([]host.Dispatch{good()}); err != nil {
		t.Fatal(err)
	}
	other := tiny(t, Options{})
	for want, change := range map[string]func(*host.Dispatch){
		"no such kernel":             func(s *host.Dispatch) { s.Kernel = "scale" },
		"at most 64":                 func(s *host.Dispatch) { s.Threads = 96 },
		"a multiple of 32":           func(s *host.Dispatch) { s.Threads = 48 },
		"2 arguments, want 3":        func(s *host.Dispatch) { s.Args = s.Args[:2] },
		"the argument struct has 16": func(s *host.Dispatch) { s.Args[2].Bytes = s.Args[2].Bytes[:8] },
		"which is bytes":             func(s *host.Dispatch) { s.Args[2] = in(x) },
		"want a buffer":              func(s *host.Dispatch) { s.Args[0] = s.Args[2] },
		"another device's":           func(s *host.Dispatch) { s.Args[0] = in(floats(t, other, 1)) },
		"no multiple of 4":           func(s *host.Dispatch) { s.Args[0].At = 2 },
		"begins at byte 256":         func(s *host.Dispatch) { s.Args[0].At = 256 },
		"uses bytes 128 to 384":      func(s *host.Dispatch) { s.Args[0].Uses[0].At = 128 },
		"what is read-only":          func(s *host.Dispatch) { s.Args[0].Uses[0].Access = host.ReadWrite },
		"of which y writes":          func(s *host.Dispatch) { s.Args[1] = out(x) },
	} {
		s := good()
		change(&s)
		if err := d.Submit([]host.Dispatch{s}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
