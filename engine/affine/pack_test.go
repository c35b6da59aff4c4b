package affine

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// Table of section 1.5 of the specification mlx-affine.md.
func TestPackExamples(t *testing.T) {
	for _, c := range []struct {
		bits  int
		codes []uint8
		want  string
	}{
		{2, []uint8{0, 1, 2, 3}, "e4"},
		{3, []uint8{1, 2, 3, 4, 5, 6, 7, 0}, "d1581f"},
		{4, []uint8{1, 2, 3, 4, 5, 6, 7, 8}, "21436587"},
		{5, []uint8{1, 2, 3, 4, 5, 30, 31, 16}, "410c52fc87"},
		{6, []uint8{1, 2, 3, 63}, "8130fc"},
		{8, []uint8{1, 2, 3, 4}, "01020304"},
		{3, []uint8{7}, "07"},
		{5, nil, ""},
	} {
		packed := Pack(c.bits, c.codes)
		if got := hex.EncodeToString(packed); got != c.want {
			t.Errorf("%d bits: %v packs to %s, want %s", c.bits, c.codes, got, c.want)
		}
		back := make([]uint8, len(c.codes))
		Unpack(back, c.bits, packed)
		if !bytes.Equal(back, c.codes) {
			t.Errorf("%d bits: %v comes back as %v", c.bits, c.codes, back)
		}
	}
}

// literalPack is the rule itself: bit t of the stream is bit t mod 8 of byte
// t div 8, code i has bits i·b on, lowest first.
func literalPack(bits int, codes []uint8) []byte {
	packed := make([]byte, (len(codes)*bits+7)/8)
	for i, c := range codes {
		for k := range bits {
			at := i*bits + k
			packed[at/8] |= c >> k & 1 << (at % 8)
		}
	}
	return packed
}

// checkPack holds Pack against the rule and Unpack against Pack, and that neither
// takes notice of bytes behind.
func checkPack(t *testing.T, bits int, codes []uint8) {
	t.Helper()
	packed := Pack(bits, codes)
	if want := literalPack(bits, codes); !bytes.Equal(packed, want) {
		t.Fatalf("%d bits: %v packs to %x, want %x", bits, codes, packed, want)
	}
	back := make([]uint8, len(codes))
	Unpack(back, bits, append(bytes.Clone(packed), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	if !bytes.Equal(back, codes) {
		t.Fatalf("%d bits: %v comes back as %v", bits, codes, back)
	}
	Unpack(back, bits, packed)
	if !bytes.Equal(back, codes) {
		t.Fatalf("%d bits: %v comes back as %v", bits, codes, back)
	}
}

func TestPackIsTheBitStream(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, bits := range widths {
		for n := range 300 {
			codes := make([]uint8, n)
			for i := range codes {
				codes[i] = uint8(r.IntN(1 << bits))
			}
			checkPack(t, bits, codes)
		}
	}
}

func TestPackPanics(t *testing.T) {
	for name, call := range map[string]func(){
		"7 bits":         func() { Pack(7, nil) },
		"1 bit":          func() { Pack(1, nil) },
		"code too large": func() { Pack(3, []uint8{7, 8}) },
		"too short":      func() { Unpack(make([]uint8, 9), 5, make([]byte, 5)) },
		"0 bits":         func() { Unpack(nil, 0, nil) },
	} {
		t.Run(name, func(t *testing.T) { mustPanic(t, call) })
	}
}

func mustPanic(t *testing.T, call func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	call()
}

func FuzzPack(f *testing.F) {
	f.Add(uint8(3), []byte{1, 2, 3, 4, 5, 6, 7, 0, 9})
	f.Add(uint8(5), []byte("scale and bias"))
	f.Fuzz(func(t *testing.T, width uint8, codes []byte) {
		bits := widths[int(width)%len(widths)]
		for i := range codes {
			codes[i] &= 1<<bits - 1
		}
		checkPack(t, bits, codes)
	})
}
