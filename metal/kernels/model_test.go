package kernels_test

import (
	"runtime"
	"testing"

	"assay/metal/host/emu"
	"assay/metal/kernels"
)

// Sizes of the golden model, V4-Flash and the most that there may be.
var sizes = []kernels.Sizes{
	{Streams: 4, Heads: 4, HeadDim: 80, IndexHeads: 4, IndexDim: 32, Experts: 8},
	{Streams: 4, Heads: 64, HeadDim: 512, IndexHeads: 64, IndexDim: 128, Experts: 256},
	{Streams: kernels.MaxStreams, Heads: 1, HeadDim: kernels.MaxHeadDim, IndexHeads: kernels.MaxIndexHeads, IndexDim: kernels.MaxIndexDim, Experts: kernels.MaxExperts},
}

// mirrors are the Go structs by kernel function.
var mirrors = map[string]any{
	"hyper_sums": kernels.HyperSumsArgs{}, "hyper_in": kernels.HyperInArgs{}, "hyper_head": kernels.HyperInArgs{}, "hyper_out": kernels.HyperOutArgs{},
	"latents": kernels.LatentsArgs{}, "attend_rows": kernels.AttendArgs{}, "attend_chunks": kernels.AttendArgs{}, "attend_combine": kernels.AttendArgs{},
	"attend_keep": kernels.KeepArgs{}, "compress_pool": kernels.PoolArgs{}, "compress_store": kernels.StoreArgs{},
	"select_scores": kernels.ScoreArgs{}, "select_top": kernels.TopArgs{}, "route": kernels.RouteArgs{},
}

// TestModelArgs holds each Go struct against what the compiler makes of its
// kernel's.
func TestModelArgs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("emu runs on Linux")
	}
	dev, err := emu.New(emu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := kernels.Model(sizes[0], "float", false)
	if err := dev.Compile(t.Context(), kernels.Program(all)); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range all {
		mirror, ok := mirrors[k.Function]
		if !ok {
			t.Errorf("%s has no Go struct", k.Function)
			continue
		}
		seen[k.Function] = true
		if err := dev.MatchArgs(k.Name(), mirror); err != nil {
			t.Error(err)
		}
	}
	for name := range mirrors {
		if !seen[name] {
			t.Errorf("%s is no kernel of the model", name)
		}
	}
}

// TestChunks wants every key in one chunk, no chunk empty, and no more chunks than
// are put together.
func TestChunks(t *testing.T) {
	for n := 1; n < 5000; n++ {
		per, chunks := kernels.Chunks(n)
		if per%32 != 0 || chunks > kernels.MaxChunks || chunks*per < n || (chunks-1)*per >= n {
			t.Fatalf("%d keys: %d chunks of %d", n, chunks, per)
		}
	}
}

// TestAttendRowsFor wants parts to divide the channels, and all heads to have a
// block.
func TestAttendRowsFor(t *testing.T) {
	for dim := 16; dim <= kernels.MaxHeadDim; dim += 16 {
		for _, heads := range []int{1, 4, 8, 9, 17, 25, 33, 64, 128} {
			r := kernels.AttendRowsFor(heads, dim)
			if dim/8%r.Parts != 0 || r.Groups(heads)*r.Blocks*8 < heads || r.Threads() > 1024 {
				t.Errorf("%d heads of %d: %+v", heads, dim, r)
			}
		}
	}
}
