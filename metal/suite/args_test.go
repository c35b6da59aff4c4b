package suite

import (
	"runtime"
	"testing"

	"assay/metal"
	"assay/metal/host"
	"assay/metal/host/emu"
	"assay/metal/kernels"
	"assay/metal/msl"
)

// mirrors are the Go structs of the products' kernels; those of the model's other
// operations are in metal/kernels.
var mirrors = map[string]any{
	"matvec": kernels.MatVecArgs{}, "matvecs": kernels.MatVecsArgs{}, "matfew": kernels.MatFewArgs{}, "matmul": kernels.MatMulArgs{},
	"embed": kernels.EmbedArgs{}, "logsum": kernels.LogProbsArgs{}, "logprobs": kernels.LogProbsArgs{}, "copy_words": kernels.CopyArgs{},
	"experts_up": kernels.ExpertsArgs{}, "experts_down": kernels.ExpertsArgs{}, "experts_sum": kernels.ExpertsSumArgs{},
	"map_count": kernels.ExpertsMapArgs{}, "map_lists": kernels.ExpertsMapArgs{}, "tiles_up": kernels.TilesArgs{}, "tiles_down": kernels.TilesArgs{},
}

// TestArgs holds each Go struct against what the compiler makes of its kernel's,
// and wants one for every kernel.
func TestArgs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("emu runs on Linux")
	}
	elsewhere := map[string]bool{}
	for _, k := range kernels.Model(kernels.Sizes{Streams: 4, Heads: 4, HeadDim: 80, IndexHeads: 4, IndexDim: 32, Experts: 8}, "float", false) {
		elsewhere[k.Function] = true
	}
	p, err := Program(Cases(), metal.Options{Activations: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	src, err := msl.Parse(p.Source)
	if err != nil {
		t.Fatal(err)
	}
	one := map[string]string{} // an instance of each kernel
	for _, in := range src.Instances {
		one[in.Kernel] = in.Name
	}
	var few []string
	for _, k := range src.Kernels {
		if src.Arguments(k) == nil || elsewhere[k.Name] {
			continue
		}
		if mirrors[k.Name] == nil {
			t.Errorf("%s has no Go struct", k.Name)
		} else if one[k.Name] != "" {
			few = append(few, one[k.Name])
		}
	}
	dev, err := emu.New(emu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Compile(t.Context(), host.Program{Source: p.Source, Kernels: few}); err != nil {
		t.Fatal(err)
	}
	for _, name := range few {
		in, _ := src.Instance(name)
		if err := dev.MatchArgs(name, mirrors[in.Kernel]); err != nil {
			t.Error(err)
		}
	}
	if len(few) != len(mirrors) {
		t.Errorf("%d kernels of %d in the suite", len(few), len(mirrors))
	}
}
