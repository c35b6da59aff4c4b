package inspect

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// What metadata alone can repair is repaired: the folder with the new files in
// place of the old has no finding left, and the old ones are as they were.
func TestFixedFoldersAreClean(t *testing.T) {
	for _, b := range []struct {
		name  string
		from  kind
		files int
		spoil func(t *testing.T, f folder)
	}{
		{"total_size", grid, 1, func(t *testing.T, f folder) {
			f.editJSON(t, indexName, func(all map[string]any) { all["metadata"].(map[string]any)["total_size"] = 1 })
		}},
		{"no index", grid, 1, func(_ *testing.T, f folder) { delete(f, indexName) }},
		{"an index of noise", grid, 1, func(_ *testing.T, f folder) { f[indexName] = []byte("{") }},
		{"a wrong override", grid, 1, entryOf(qb, func(e map[string]any) { e["bits"] = 4 })},
		{"a dead override", wide, 1, config(func(q map[string]any) { q["a.b"] = true })},
		{"globals left out", native, 1, config(func(q map[string]any) { delete(q, "bits") })},
		{"upstream's block alone, and no index", grid, 2, func(t *testing.T, f folder) {
			delete(f, indexName)
			f.editJSON(t, configName, func(all map[string]any) {
				delete(all, quantizationKey)
				all[twinKey] = map[string]any{"quant_method": "fp8"}
			})
		}},
		{"names on disk", apart, 1, config(func(q map[string]any) {
			delete(q, "model.embed")
			q["embed"] = map[string]any{"group_size": 32, "bits": 8, "mode": "affine"}
		})},
		{"globals of 4.0", grid, 1, text(configName, `"bits": 4,`, `"bits": 4.0,`)},
		{"a number for a norm", grid, 1, config(func(q map[string]any) { q["model.norm"] = norm8 })},
		{"a block without its method", grid, 1, alone(map[string]any{"bits": 4})},
		{"nothing", grid, 0, func(*testing.T, folder) {}},
	} {
		t.Run(b.name, func(t *testing.T) {
			f := healthy(t, b.from)
			b.spoil(t, f)
			opened, err := Open(f.fs())
			if err != nil {
				t.Fatal(err)
			}
			l, err := LoaderOf(b.from.runtime)
			if err != nil {
				t.Fatal(err)
			}
			o := Options{Params: dsv4Params, Loader: &l}
			fixed, err := Fix(opened, o)
			if err != nil || len(fixed) != b.files {
				t.Fatalf("%d files (%v), want %d", len(fixed), err, b.files)
			}
			again, err := Open(Overlay(f.fs(), fixed))
			if err != nil {
				t.Fatal(err)
			}
			o.Sample = Sample{Bytes: 1 << 20}
			checkFindings(t, Verify(again, o), nil)
			for _, x := range fixed {
				if !json.Valid(x.Data) || bytes.Equal(x.Data, f[x.Name]) {
					t.Errorf("%s is not mended", x.Name)
				}
			}
		})
	}
}

// What metadata cannot repair is refused with a reason.
func TestWhatCannotBeFixed(t *testing.T) {
	f := healthy(t, grid)
	f.quantization(t, func(q map[string]any) { delete(q, "bits") })
	l, _ := LoaderOf("vmlx") // there is one
	opened, err := Open(f.fs())
	if err != nil {
		t.Fatal(err)
	}
	const other = "inspect: the tensors have the names of mlx-lm, which vmlx does not read: no config can repair that"
	if _, err := Fix(opened, Options{Params: dsv4Params, Loader: &l}); err == nil || err.Error() != other {
		t.Errorf("%v, want %s", err, other)
	}
	active := healthy(t, grid)
	active.editJSON(t, configName, func(all map[string]any) { all["quantize_activations"] = true })
	if opened, err = Open(active.fs()); err != nil {
		t.Fatal(err)
	}
	if fixed, err := Fix(opened, Options{Params: dsv4Params}); len(fixed) > 0 || err == nil || !strings.Contains(err.Error(), "not for a tool to decide") {
		t.Errorf("a key to be removed: %v", err)
	}
	lost := healthy(t, grid)
	delete(lost, lost.shards()[1])
	lost.editJSON(t, indexName, func(all map[string]any) { delete(all["weight_map"].(map[string]any), qb+biasesSuffix) })
	if opened, err = Open(lost.fs()); err != nil {
		t.Fatal(err)
	}
	if fixed, err := Fix(opened, Options{Params: dsv4Params}); len(fixed) > 0 || err == nil || !strings.Contains(err.Error(), "is missing, where tensor") {
		t.Errorf("an index that hides a lost file: %v", err)
	}
	n := f.shards()[0]
	f[n] = f[n][:len(f[n])-1]
	delete(f, indexName)
	if opened, err = Open(f.fs()); err != nil {
		t.Fatal(err)
	}
	if _, err := Fix(opened, Options{Params: dsv4Params}); err == nil || !strings.Contains(err.Error(), "no index can be made: tensor") {
		t.Error(err)
	}
}
