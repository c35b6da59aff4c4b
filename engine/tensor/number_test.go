package tensor

import (
	"math"
	"testing"
)

// Spot values of the DeepSeek-V4 specification, section 2.3, and of IEEE 754.
func TestSpotValues(t *testing.T) {
	for _, c := range []struct {
		format    string
		got, want float32
	}{
		{"E4M3 0x01", E4M3ToFloat32(0x01), 0.001953125},
		{"E4M3 0x07", E4M3ToFloat32(0x07), 0.013671875},
		{"E4M3 0x08", E4M3ToFloat32(0x08), 0.015625},
		{"E4M3 0x38", E4M3ToFloat32(0x38), 1},
		{"E4M3 0x3c", E4M3ToFloat32(0x3c), 1.5},
		{"E4M3 0x7e", E4M3ToFloat32(0x7e), 448},
		{"E4M3 0xfe", E4M3ToFloat32(0xfe), -448},
		{"E8M0 0", E8M0ToFloat32(0), math.Float32frombits(0x00400000)},
		{"E8M0 1", E8M0ToFloat32(1), 0x1p-126},
		{"E8M0 127", E8M0ToFloat32(127), 1},
		{"E8M0 254", E8M0ToFloat32(254), 0x1p127},
		{"BF16 0x3dcd", BF16ToFloat32(0x3dcd), 0.10009765625},
		{"F16 0x0001", F16ToFloat32(0x0001), 0x1p-24},
		{"F16 0x0400", F16ToFloat32(0x0400), 0x1p-14},
		{"F16 0x3555", F16ToFloat32(0x3555), 0.333251953125},
		{"F16 0x7bff", F16ToFloat32(0x7bff), 65504},
		{"F16 0xfc00", F16ToFloat32(0xfc00), float32(math.Inf(-1))},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.format, c.got, c.want)
		}
	}
	for name, v := range map[string]float32{
		"E4M3 0x7f": E4M3ToFloat32(0x7f), "E4M3 0xff": E4M3ToFloat32(0xff),
		"E8M0 255": E8M0ToFloat32(255), "F16 0x7c01": F16ToFloat32(0x7c01), "BF16 0xffff": BF16ToFloat32(0xffff),
	} {
		if v == v {
			t.Errorf("%s is %v, want NaN", name, v)
		}
	}
}

func TestE2M1Table(t *testing.T) {
	want := [8]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6}
	for code, v := range want {
		if got := E2M1ToFloat32(byte(code)); got != v {
			t.Errorf("code %d is %v, want %v", code, got, v)
		}
		if got := E2M1ToFloat32(byte(code | 8)); got != -v || !math.Signbit(float64(got)) {
			t.Errorf("code %d is %v, want %v", code|8, got, -v)
		}
	}
}

// f16Value is the definition: (−1)^s · 2^(e−15) · (1 + m/1024), subnormals apart.
func f16Value(u uint16) float64 {
	e, m := int(u>>10&31), float64(u&1023)
	v := math.Ldexp(1024+m, e-25)
	if e == 0 {
		v = math.Ldexp(m, -24)
	}
	if u&0x8000 != 0 {
		return -v
	}
	return v
}

func TestF16IsItsDefinition(t *testing.T) {
	for i := range 1 << 16 {
		u := uint16(i)
		if u&0x7c00 == 0x7c00 {
			continue
		}
		if got := F16ToFloat32(u); float64(got) != f16Value(u) {
			t.Fatalf("%#04x is %v, want %v", u, got, f16Value(u))
		}
	}
}

// format is one number format by its codes, for the tests that hold for all.
type format struct {
	name   string
	codes  int
	sign   int // the bit that negates
	decode func(int) float32
	encode func(float32) int
}

var formats = []format{
	{"BF16", 1 << 16, 1 << 15,
		func(c int) float32 { return BF16ToFloat32(uint16(c)) },
		func(f float32) int { return int(BF16FromFloat32(f)) }},
	{"F16", 1 << 16, 1 << 15,
		func(c int) float32 { return F16ToFloat32(uint16(c)) },
		func(f float32) int { return int(F16FromFloat32(f)) }},
	{"E4M3", 1 << 8, 1 << 7,
		func(c int) float32 { return E4M3ToFloat32(byte(c)) },
		func(f float32) int { return int(E4M3FromFloat32(f)) }},
	{"E2M1", 1 << 4, 1 << 3,
		func(c int) float32 { return E2M1ToFloat32(byte(c)) },
		func(f float32) int { return int(E2M1FromFloat32(f)) }},
}

func finite(f float32) bool { return f-f == 0 }

func TestEveryCodeRoundTrips(t *testing.T) {
	for _, f := range formats {
		for code := range f.codes {
			v := f.decode(code)
			got := f.encode(v)
			switch {
			case v != v:
				if back := f.decode(got); back == back || got&f.sign != code&f.sign {
					t.Fatalf("%s: NaN code %#x comes back as %#x", f.name, code, got)
				}
			case f.name == "E4M3" && !finite(v):
				t.Fatalf("E4M3: code %#x is %v", code, v)
			case got != code:
				t.Fatalf("%s: code %#x, value %v, comes back as %#x", f.name, code, v, got)
			}
		}
	}
}

// Between two neighbouring values the halfway point goes to the even code and
// the float32 on either side of it to the nearer one, for both signs.
func TestNearestTiesToEven(t *testing.T) {
	for _, f := range formats {
		for code := 0; code+1 < f.sign; code++ {
			lo, hi := f.decode(code), f.decode(code+1)
			if !finite(lo) || !finite(hi) {
				break
			}
			half := float32((float64(lo) + float64(hi)) / 2)
			even := code + code&1
			below, above := math.Nextafter32(half, lo), math.Nextafter32(half, hi)
			for _, c := range []struct {
				in   float32
				want int
			}{{half, even}, {below, code}, {above, code + 1}, {-half, even | f.sign}, {-above, code + 1 | f.sign}} {
				if got := f.encode(c.in); got != c.want {
					t.Fatalf("%s: %v becomes %#x, want %#x", f.name, c.in, got, c.want)
				}
			}
		}
	}
}

func TestBeyondTheLargest(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		name      string
		got, want int
	}{
		{"BF16 of the largest float32", int(BF16FromFloat32(math.MaxFloat32)), 0x7f80},
		{"BF16 of -Inf", int(BF16FromFloat32(-inf)), 0xff80},
		{"F16 of 65519.996", int(F16FromFloat32(math.Nextafter32(65520, 0))), 0x7bff},
		{"F16 of 65520", int(F16FromFloat32(65520)), 0x7c00},
		{"F16 of -Inf", int(F16FromFloat32(-inf)), 0xfc00},
		{"E4M3 of 448", int(E4M3FromFloat32(448)), 0x7e},
		{"E4M3 of 479", int(E4M3FromFloat32(479)), 0x7e},
		{"E4M3 of -1e30", int(E4M3FromFloat32(-1e30)), 0xfe},
		{"E4M3 of Inf", int(E4M3FromFloat32(inf)), 0x7e},
		{"E2M1 of 100", int(E2M1FromFloat32(100)), 7},
		{"E2M1 of -Inf", int(E2M1FromFloat32(-inf)), 15},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, want %#x", c.name, c.got, c.want)
		}
	}
	for _, f := range formats[:3] {
		if v := f.decode(f.encode(float32(math.NaN()))); v == v {
			t.Errorf("%s: NaN becomes %v", f.name, v)
		}
	}
	// A NaN whose payload lies only in the bits that are cut off stays one.
	if v := BF16ToFloat32(BF16FromFloat32(math.Float32frombits(0x7f800001))); v == v {
		t.Errorf("BF16: a NaN of low payload becomes %v", v)
	}
}

func TestUnderTheSmallest(t *testing.T) {
	for _, f := range formats {
		tiny := f.decode(1) / 2
		if got := f.encode(tiny); got != 0 {
			t.Errorf("%s: half the smallest value becomes %#x, want 0", f.name, got)
		}
		if got := f.encode(-tiny); got != f.sign {
			t.Errorf("%s: minus half the smallest value becomes %#x, want -0", f.name, got)
		}
	}
}

func TestE8M0IsAPowerOfTwo(t *testing.T) {
	for b := range 255 {
		if got, want := float64(E8M0ToFloat32(byte(b))), math.Ldexp(1, b-127); got != want {
			t.Fatalf("code %d is %v, want %v", b, got, want)
		}
	}
}
