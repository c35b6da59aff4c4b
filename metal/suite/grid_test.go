package suite

import "testing"

// TestGrids has values by hand on and off the formats' grids.
func TestGrids(t *testing.T) {
	for v, want := range map[float64][2]bool{
		0: {true, true}, 0.5: {true, true}, 6: {true, true}, 5: {true, false}, -1.5: {true, true}, 0.25: {true, false},
		448: {true, false}, 464: {false, false}, 17: {false, false}, 18: {true, false}, 0x1p-9: {true, false}, 0x1.8p-9: {false, false},
		0x1.8p-6: {true, false}, 1.0625: {false, false}, 1.125: {true, false},
	} {
		if isE4M3(v) != want[0] || isE2M1(v) != want[1] {
			t.Errorf("%g: E4M3 %v, E2M1 %v, want %v", v, isE4M3(v), isE2M1(v), want)
		}
	}
	got, exact := make([]float32, 32), make([]float64, 32)
	got[0], exact[0] = 12, 11 // a scale of 2
	got[1], exact[1] = 1, 1.2
	if err := onFP4Grid(got, exact); err != nil {
		t.Error(err)
	}
	got[1] = 0.5 // of a scale of 1
	if onFP4Grid(got, exact) == nil {
		t.Error("a number of another scale is on the grid")
	}
	tiny, far := make([]float32, 64), make([]float64, 64)
	tiny[0], far[0] = 0x1p-31, 0x1.1p-31 // under 1e-4 the scale is 2^-22
	if err := onFP8Grid(tiny, far); err != nil {
		t.Error(err)
	}
	tiny[0] = 0x1p-32
	if onFP8Grid(tiny, far) == nil {
		t.Error("a block of tiny numbers has a scale of its own")
	}
}
