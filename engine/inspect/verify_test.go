package inspect

import (
	"fmt"
	"strings"
	"testing"

	"assay/engine/checkpoint"
)

// Healthy folders of every kind have no finding at all, with the source beside
// them and without.
func TestHealthyFoldersHaveNoFinding(t *testing.T) {
	kinds := []kind{
		{recipe: "g32-n8-e4", runtime: "mlx-lm"}, {recipe: "g64-n6-e3", runtime: "mlx-lm"}, {recipe: "g128-n4-e3", runtime: "mlx-lm"},
		{recipe: "cpu-g64-n4-e4", runtime: "mlx-lm"}, {recipe: "search-g64-n4-e16", runtime: "mlx-lm"}, {recipe: "recode-g128-n8-e4", runtime: "mlx-lm"},
		{recipe: "lattice-g32-n8-e5", runtime: "mlx-lm"}, {recipe: "g32-n16-e4", runtime: "mlx-lm"},
		{recipe: "native", runtime: "mlx-lm"}, {recipe: "bf16", runtime: "mlx-lm"}, {recipe: "native", runtime: "vmlx"},
		{recipe: "g32-n8-e4", runtime: "vmlx"}, {recipe: "g32-n8-e4", runtime: "mlx-vlm"},
		{recipe: "g32-n8-e4", runtime: "vmlx", apart: true, mtp: true}, {recipe: "native", runtime: "mlx-lm", apart: true},
		{recipe: "g64-n8-e4", runtime: "mlx-lm", mtp: true},
	}
	src := sourceOf(t)
	for _, k := range kinds {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			f := healthy(t, k)
			for _, o := range []Options{{}, {Source: src}} {
				r := verify(t, f, o)
				for _, x := range r.Findings {
					if o.Source != nil && x.ID == "X09" && x.Severity == Note {
						continue // the source has no chat template either
					}
					t.Errorf("%s %s %s: found %s, want %s", x.Severity, x.ID, x.Subject(), x.Found, x.Wanted)
				}
				loads := 0
				for _, v := range r.Verdicts {
					if v.Loads {
						loads++
					}
				}
				if want := map[string]int{"mlx-lm": 2, "vmlx": 1, "mlx-vlm": 1}[k.runtime]; loads < want {
					t.Errorf("verdicts are %v", r.Verdicts)
				}
			}
		})
	}
	if r := verify(t, upstreamFolder(t), Options{Source: src}); len(r.Findings) != 1 || r.Findings[0].ID != "X09" {
		t.Errorf("upstream's own checkpoint has findings: %+v", r.Findings)
	}
}

// A re-export of upstream's checkpoint with control tensors in BF16 is told too.
func TestUpstreamControlTensors(t *testing.T) {
	f := folder{}
	for name, data := range upstreamFolder(t) {
		f[name] = data
	}
	f.edit(t, bf16Control("layers.0.hc_attn_fn"))
	checkFindings(t, verify(t, f, Options{}), one("S14", Warning, "layers.0.hc_attn_fn", "BF16"))
}

// A source that is a bundle itself, or another model's, is not taken for one.
func TestSourcesThatAreNone(t *testing.T) {
	ck, err := checkpoint.New(healthy(t, kind{recipe: "native", runtime: "mlx-vlm"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSource(ck); err == nil || !strings.Contains(err.Error(), "it is a bundle itself") {
		t.Error(err)
	}
	if ck, err = checkpoint.New(healthy(t, kind{recipe: "bf16", runtime: "vmlx"})); err != nil {
		t.Fatal(err)
	}
	src, err := NewSource(ck)
	if err != nil {
		t.Fatal(err)
	}
	checkFindings(t, verify(t, healthy(t, grid), Options{Source: src}), one("S17", Warning, "all tensors", "no sampled weight"))
}
