package results

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// By hand: 1 is 3f800000, bytes 00 00 80 3f, in base64 AACAPw==.
func TestFloatsJSON(t *testing.T) {
	for want, f := range map[string]Floats{
		`""`:                 nil,
		`"AACAPw=="`:         {1},
		`"AACAPwAAAMAAAIB/"`: {1, -2, float32(math.Inf(1))},
	} {
		got, err := json.Marshal(f)
		if err != nil || string(got) != want {
			t.Errorf("%v: %s, %v, want %s", f, got, err, want)
		}
		var back Floats
		if err := json.Unmarshal(got, &back); err != nil || !slices.Equal(back, f) {
			t.Errorf("%s: %v, %v, want %v", got, back, err, f)
		}
	}
}

// Every bit comes back, of NaN with a payload and of −0 too.
func TestFloatsKeepBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	bits := []uint32{0x80000000, 0x7fc00001, 0xff800001, 1}
	for range 1000 {
		bits = append(bits, r.Uint32())
	}
	f := make(Floats, len(bits))
	for i, b := range bits {
		f[i] = math.Float32frombits(b)
	}
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back Floats
	if err := json.Unmarshal(data, &back); err != nil || len(back) != len(f) {
		t.Fatalf("%d values, %v", len(back), err)
	}
	for i, b := range bits {
		if got := math.Float32bits(back[i]); got != b {
			t.Errorf("%08x, want %08x", got, b)
		}
	}
}

// By hand: 1, 0, 1, 1 and five times 0 and a 1 are 0000 1101 and 0000 0010.
func TestBitsJSON(t *testing.T) {
	for want, b := range map[string]Bits{
		`{"n":0,"b":""}`:      {},
		`{"n":4,"b":"DQ=="}`:  {true, false, true, true},
		`{"n":10,"b":"DQI="}`: {true, false, true, true, false, false, false, false, false, true},
	} {
		got, err := json.Marshal(b)
		if err != nil || string(got) != want {
			t.Errorf("%v: %s, %v, want %s", b, got, err, want)
		}
		var back Bits
		if err := json.Unmarshal(got, &back); err != nil || !slices.Equal(back, b) {
			t.Errorf("%s: %v, %v, want %v", got, back, err, b)
		}
	}
}

func TestBitsRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for n := range 70 {
		b := make(Bits, n)
		for i := range b {
			b[i] = r.IntN(2) == 1
		}
		data, _ := json.Marshal(b)
		var back Bits
		if err := json.Unmarshal(data, &back); err != nil || !slices.Equal(back, b) {
			t.Errorf("%d entries: %v", n, err)
		}
	}
}

func TestEncodingsRefuse(t *testing.T) {
	for in, want := range map[string]string{
		`null`:       "null, want a string",
		`"AACAPw="`:  "illegal base64",
		`"AACAPx=="`: "illegal base64",
		`"AACA"`:     "3 bytes, want a multiple of 4",
		`[1]`:        "cannot unmarshal array",
	} {
		var f Floats
		if err := f.UnmarshalJSON([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("floats %s: %v, want %q", in, err, want)
		}
	}
	for in, want := range map[string]string{
		`{"n":9,"b":"DQ=="}`:                   "9 entries in 1 bytes",
		`{"n":0,"b":"DQ=="}`:                   "0 entries in 1 bytes",
		`{"n":-1,"b":""}`:                      "-1 entries in 0 bytes",
		`{"n":3,"b":"DQ=="}`:                   "bits set after entry 2",
		`{"n":9223372036854775807,"b":"DQ=="}`: "entries in 1 bytes",
		`{"n":4,"b":"D"}`:                      "illegal base64",
		`"DQ=="`:                               "cannot unmarshal string",
	} {
		var b Bits
		if err := b.UnmarshalJSON([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bits %s: %v, want %q", in, err, want)
		}
	}
}
