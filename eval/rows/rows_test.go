package rows

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var key = Key{Variant: "v", Windows: "w", Engine: "cpu", Tokens: 3, Hidden: 2}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows")
	if _, ok, err := Read(path, key); ok || err != nil {
		t.Fatalf("a missing file gives %v, %v", ok, err)
	}
	want := []float32{1, -2.5, 0, math.MaxFloat32, 1e-40, -0}
	if err := Write(path, key, want); err != nil {
		t.Fatal(err)
	}
	got, ok, err := Read(path, key)
	if err != nil || !ok || !slices.Equal(got, want) {
		t.Errorf("read %v, %v, %v, want %v", got, ok, err, want)
	}
	for _, other := range []Key{
		{"x", "w", "cpu", 0, 3, 2}, {"v", "x", "cpu", 0, 3, 2}, {"v", "w", "x", 0, 3, 2}, {"v", "w", "cpu", 1, 3, 2}, {"v", "w", "cpu", 0, 2, 3},
	} {
		if _, ok, err := Read(path, other); ok || err != nil {
			t.Errorf("rows of another key are used: %v, %v", ok, err)
		}
	}
	if err := Write(path, key, want[:5]); err == nil {
		t.Error("rows of a wrong length are written")
	}
	if left, _ := filepath.Glob(path + ".tmp*"); len(left) > 0 {
		t.Errorf("temporary files stay: %v", left)
	}
}

// TestDamage cuts the file everywhere and turns every byte: it is never used.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows")
	if err := Write(path, key, make([]float32, 6)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := Read(path, key); ok || err == nil {
			t.Fatalf("%s: used %v, error %v", what, ok, err)
		}
	}
	for i := range whole {
		check("cut", whole[:i])
		turned := slices.Clone(whole)
		turned[i] ^= 0x40
		check("turned", turned)
	}
}

func FuzzParse(f *testing.F) {
	path := filepath.Join(f.TempDir(), "rows")
	if err := Write(path, key, make([]float32, 6)); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, body, err := parse(data)
		if err == nil && len(body) != 4*k.Tokens*k.Hidden {
			t.Errorf("%d bytes of rows for %+v", len(body), k)
		}
	})
}
