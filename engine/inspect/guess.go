package inspect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"assay/engine/bundle"
)

// What JANG's tools make of shapes alone. P = bits·G = 32·wcols/scols is all
// that shapes say without in_features; each tool takes the first pair of a list
// of its own that gives P. Here are the two that run when a folder is loaded;
// JANG's config-patch tool, and the pairs for which vMLX believes a config, are
// not asked: what they write, or believe, stands in config.json then.
// Source: the MLX format specification, 4.2 and 4.3.

// Pair is bits and group size.
type Pair struct{ Bits, GroupSize int }

func (p Pair) String() string { return fmt.Sprintf("%d/%d", p.Bits, p.GroupSize) }

// product returns what shapes say of a pair.
func (p Pair) product() int { return p.Bits * p.GroupSize }

// patchList is the order of load_jangtq's _patch_quant_config_inplace.
var patchList = []Pair{{8, 32}, {8, 64}, {8, 128}, {4, 32}, {4, 64}, {4, 128}, {2, 32}, {2, 64}, {2, 128},
	{3, 32}, {3, 64}, {3, 128}, {6, 32}, {6, 64}, {6, 128}}

// PatchGuess returns what _patch_quant_config_inplace takes a module for, and
// false where it leaves it to the globals.
func PatchGuess(product int) (Pair, bool) {
	i := slices.IndexFunc(patchList, func(p Pair) bool { return p.product() == product })
	if i < 0 {
		return Pair{}, false
	}
	return patchList[i], true
}

// RepairGuess returns what _fix_quantized_bits makes of a module that was built
// with a group size: the bits that fit it, or the next larger group size that
// has any. It is false where none has.
func RepairGuess(product, group int) (Pair, bool) {
	for _, g := range []int{32, 64, 128} {
		if g < group || product%g != 0 {
			continue
		}
		switch b := product / g; b {
		case 2, 3, 4, 5, 6, 8:
			return Pair{b, g}, true
		}
	}
	return Pair{}, false
}

// jangFormats are the formats that vMLX hands to its JANG loader.
var jangFormats = []string{"jang", "jjqf", "mxq", "mxtq"}

// isJANG says whether jang_config.json is there and sends vMLX to its JANG
// loader: it names one of the formats, or none at all.
func (f *Folder) isJANG() bool {
	var x map[string]json.RawMessage
	if !readObject(f.readPresent, "jang_config.json", &x) {
		return false
	}
	named := false
	for _, key := range []string{"format", "weight_format"} {
		raw, ok := x[key]
		named = named || ok
		var text string
		if ok && json.Unmarshal(raw, &text) == nil && slices.Contains(jangFormats, strings.ToLower(text)) {
			return true
		}
	}
	return !named
}

// patched returns the overrides that _patch_quant_config_inplace leaves: those
// of config.json if it has one for every triple and all agree with its guesses,
// else the guesses alone, by the name on disk.
func (c *check) patched() map[string]bundle.Quant {
	guesses := map[string]bundle.Quant{}
	agree := true
	for _, m := range c.b.modules {
		if m.broken || m.weight == nil || m.scales == nil || m.biases == nil {
			continue
		}
		g, ok := PatchGuess(32 * last(m.weight) / max(1, last(m.scales)))
		if !ok {
			continue
		}
		q := bundle.Quant{GroupSize: g.GroupSize, Bits: g.Bits, Mode: bundle.ModeAffine}
		guesses[m.stem] = q
		have := c.declared.globals.quant
		if s, ok := c.declared.modules[m.stem]; ok && s.kind == object {
			have = s.quant
		}
		agree = agree && have.Bits == q.Bits && have.GroupSize == q.GroupSize
	}
	overrides := map[string]bundle.Quant{}
	for key, s := range c.declared.modules {
		if s.kind == object {
			overrides[key] = s.quant
		}
	}
	if agree && len(overrides) == len(guesses) {
		return overrides
	}
	return guesses
}

// checkGuesses predicts what vMLX's JANG path makes of each module: it patches
// the config, loads without strictness, and repairs bits from shapes.
func (c *check) checkGuesses(targets []target, out *findings) {
	overrides := c.patched()
	for _, t := range targets {
		f, ok := t.found()
		if !ok || !f.quantized() {
			continue
		}
		q, named := overrides[t.path]
		if !named {
			q = c.declared.globals.quant
		}
		x := Finding{ID: "S10", Severity: Error, Wanted: quantText(f.Quant),
			Fix: "use one group size of 32 with stacked experts under the runtime's own names, or leave jang_config.json out"}
		m := t.modules[0]
		if r, ok := RepairGuess(32*last(m.weight)/max(1, last(m.scales)), q.GroupSize); ok {
			q.Bits, q.GroupSize = r.Bits, r.GroupSize
		}
		if q == f.Quant {
			continue
		}
		x.Found = "vMLX takes it for " + quantText(q)
		x.Consequence = "the first token raises: the shapes of weight and scales do not fit"
		if !f.affine() && q.Mode == bundle.ModeAffine {
			x.Consequence = "MX codes are read as affine: the output is silently wrong"
		}
		out.add(x, t.path)
	}
}

// misread counts the modules that JANG's patch takes for something else, were
// the folder given to it.
func (c *check) misread() (n int, example string) {
	for _, m := range c.b.modules {
		if m.broken || !m.found.affine() || m.param().MTP {
			continue
		}
		true_ := Pair{m.found.Quant.Bits, m.found.Quant.GroupSize}
		g, ok := PatchGuess(true_.product())
		if ok && g != true_ {
			if n++; n == 1 {
				example = fmt.Sprintf("%s as %s", true_, g)
			}
		}
	}
	return n, example
}

// sortedKeys returns a map's keys in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
