package dsv4_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
	"assay/engine/reference"
	"assay/engine/tensor"
)

func configOf(t *testing.T, config []byte) *dsv4.Config {
	t.Helper()
	c, err := dsv4.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The release's index has 69,187 tensors and total_size 159,609,485,896. Both
// pin every dtype: an ape of BF16 alone would miss by 2,836,480 bytes.
// Source: the DeepSeek-V4 specification, section 2.1.
func TestFlashHasTheTensorsOfItsIndex(t *testing.T) {
	params := dsv4.Params(configOf(t, dsv4.FlashConfig()))
	main, all := 0, 0
	size := int64(0)
	tensors, bytes := map[tensor.DType]int{}, map[tensor.DType]int64{}
	for _, p := range params {
		for _, info := range checkpointtest.Stored([]tensor.Param{p}) {
			all++
			if !p.MTP {
				main++
			}
			size += info.Bytes()
			tensors[info.DType]++
			bytes[info.DType] += info.Bytes()
		}
	}
	if main != 67612 || all != 69187 {
		t.Errorf("%d main tensors of %d, want 67612 of 69187", main, all)
	}
	if size != 159609485896 {
		t.Errorf("%d bytes, want 159609485896", size)
	}
	for _, c := range []struct {
		dtype tensor.DType
		n     int
		bytes int64
	}{
		{tensor.F8E4M3, 375, 6023020544},
		{tensor.F8E8M0, 34167, 8858737664},
		{tensor.I8, 33792, 141733920768},
		{tensor.BF16, 433, 2830518528},
		{tensor.F32, 417, 144672072},
		{tensor.I64, 3, 18616320},
	} {
		if tensors[c.dtype] != c.n || bytes[c.dtype] != c.bytes {
			t.Errorf("%s: %d tensors, %d bytes, want %d, %d", c.dtype, tensors[c.dtype], bytes[c.dtype], c.n, c.bytes)
		}
	}
	if len(tensors) != 6 {
		t.Errorf("%d dtypes, want 6", len(tensors))
	}
}

// Source: the DeepSeek-V4 specification, section 2.1, "tensors per layer" and
// "bytes per layer".
func TestFlashHasTheBytesOfItsLayers(t *testing.T) {
	tensors, bytes := map[string]int{}, map[string]int64{}
	layer := regexp.MustCompile(`^(layers\.\d+|mtp\.\d+)\.`)
	for _, info := range checkpointtest.Stored(dsv4.Params(configOf(t, dsv4.FlashConfig()))) {
		at := layer.FindString(info.Name)
		tensors[at]++
		bytes[at] += info.Bytes()
	}
	for _, c := range []struct {
		at    string
		n     int
		bytes int64
	}{
		{"layers.0.", 1565, 3566148952},
		{"layers.1.", 1565, 3566148952},
		{"layers.2.", 1576, 3596055640},
		{"layers.3.", 1569, 3568596312},
		{"layers.4.", 1576, 3589851224},
		{"layers.42.", 1576, 3589851224},
		{"mtp.0.", 1575, 3593787756},
	} {
		if tensors[c.at] != c.n || bytes[c.at] != c.bytes {
			t.Errorf("%s: %d tensors, %d bytes, want %d, %d", c.at, tensors[c.at], bytes[c.at], c.n, c.bytes)
		}
	}
}

// Source: the DeepSeek-V4 specification, section 2.4.
func TestFlashHasTheParametersOfItsParts(t *testing.T) {
	type count struct {
		tensors   int
		main, mtp int64
	}
	parts := []struct {
		part string // of the name, in full
		want count
	}{
		{`.*\.ffn\.experts\.\d+\.w[123]\.weight`, count{33792, 277025390592, 6442450944}},
		{`.*\.ffn\.shared_experts\.w[123]\.weight`, count{132, 1082130432, 25165824}},
		{`.*\.attn\.wq_a\.weight`, count{44, 180355072, 4194304}},
		{`.*\.attn\.wq_b\.weight`, count{44, 1442840576, 33554432}},
		{`.*\.attn\.wkv\.weight`, count{44, 90177536, 2097152}},
		{`.*\.attn\.wo_a\.weight`, count{44, 1442840576, 33554432}},
		{`.*\.attn\.wo_b\.weight`, count{44, 1442840576, 33554432}},
		{`.*\.attn\.compressor\.wkv\.weight`, count{41, 130023424, 0}},
		{`.*\.attn\.compressor\.wgate\.weight`, count{41, 130023424, 0}},
		{`.*\.indexer\.wq_b\.weight`, count{21, 176160768, 0}},
		{`.*\.indexer\.weights_proj\.weight`, count{21, 5505024, 0}},
		{`.*\.indexer\.compressor\.wkv\.weight`, count{21, 22020096, 0}},
		{`.*\.indexer\.compressor\.wgate\.weight`, count{21, 22020096, 0}},
		{`.*\.ape`, count{62, 1418240, 0}},
		{`embed\.weight`, count{1, 529530880, 0}},
		{`head\.weight`, count{1, 529530880, 0}},
		{`.*\.[eh]_proj\.weight`, count{2, 0, 33554432}},
		{`.*\.gate\.weight`, count{44, 45088768, 1048576}},
		{`.*\.gate\.bias`, count{41, 10240, 256}},
		{`.*\.tid2eid`, count{3, 2327040, 0}},
		{`(.*\.)?hc_.*`, count{261 + 9, 33884439, 852027}},
		{`(.*[._])?(e|h)?norm\.weight`, count{235 + 7, 446080, 22016}},
		{`.*\.attn_sink`, count{44, 2752, 64}},
	}
	names := make([]*regexp.Regexp, len(parts))
	for i, c := range parts {
		names[i] = regexp.MustCompile("^(?:" + c.part + ")$")
	}
	got := make([]count, len(parts))
	total := count{}
	for _, p := range dsv4.Params(configOf(t, dsv4.FlashConfig())) {
		found := 0
		for i := range parts {
			if !names[i].MatchString(p.Name) {
				continue
			}
			found++
			got[i].tensors++
			if p.MTP {
				got[i].mtp += p.Elements()
			} else {
				got[i].main += p.Elements()
			}
		}
		if found != 1 {
			t.Fatalf("%s is of %d parts", p.Name, found)
		}
	}
	for i, c := range parts {
		if got[i] != c.want {
			t.Errorf("%s: %+v, want %+v", c.part, got[i], c.want)
		}
		total.main += got[i].main
		total.mtp += got[i].mtp
	}
	if total.main != 284334567511 || total.mtp != 6610048891 {
		t.Errorf("%d and %d parameters, want 284334567511 and 6610048891", total.main, total.mtp)
	}
}

// One decoded token works with 13,270,101,591 parameters: 6 of 256 experts,
// the head, and no row of the embedding or of a tid2eid table.
// Source: the DeepSeek-V4 specification, section 2.4.
func TestFlashReadsItsActiveParameters(t *testing.T) {
	active := int64(0)
	for _, p := range dsv4.Params(configOf(t, dsv4.FlashConfig())) {
		if p.MTP || p.Name == "embed.weight" || p.DType == tensor.I64 {
			continue
		}
		active += p.Elements() * p.Reads[0] / p.Reads[1]
	}
	if active != 13270101591 {
		t.Errorf("%d parameters, want 13270101591", active)
	}
}

// A folder with the headers of the release and holes for its weights opens,
// and holds what the config says.
func TestFlashOpensFromItsHeaders(t *testing.T) {
	config := configOf(t, dsv4.FlashConfig())
	infos := checkpointtest.Stored(dsv4.Params(config))
	dir := t.TempDir()
	if err := checkpointtest.WriteSparse(dir, dsv4.FlashConfig(), infos, 46); err != nil {
		t.Skipf("no room for 160 GB of holes here: %v", err)
	}
	start := time.Now()
	src, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	opened := time.Since(start)
	ref, err := reference.New(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := dsv4.Check(config, ref); err != nil {
		t.Error(err)
	}
	t.Logf("opened in %v, all checks in %v", opened, time.Since(start))
	if len(src.Names()) != 69187 || src.TotalBytes() != 159609485896 {
		t.Errorf("%d tensors, %d bytes, want 69187, 159609485896", len(src.Names()), src.TotalBytes())
	}
	// It takes 0.4 s; the bound leaves room for a loaded machine and -race.
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	// One weight is read where it is asked for: code 0 under scale 2^-127.
	w, err := ref.Float32("layers.42.ffn.experts.255.w2.weight")
	if err != nil || len(w) != 4096*2048 || w[0] != 0 {
		t.Errorf("%d weights, %v", len(w), err)
	}
}

func TestCheckNamesWhatDiffers(t *testing.T) {
	config := configOf(t, checkpointtest.TinyConfig())
	params := dsv4.Params(config)
	stored := func(change func([]tensor.Param) []tensor.Param) tensor.Source {
		var tensors []tensor.Tensor
		for _, info := range checkpointtest.Stored(change(slices.Clone(params))) {
			tensors = append(tensors, tensor.Tensor{Info: info, Data: make([]byte, info.Bytes())})
		}
		files, err := checkpointtest.Files(checkpointtest.TinyConfig(), tensors, 1)
		if err != nil {
			t.Fatal(err)
		}
		src, err := checkpoint.New(files)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := reference.New(src)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	at := func(name string) int {
		for i, p := range params {
			if p.Name == name {
				return i
			}
		}
		t.Fatalf("no parameter %q", name)
		return 0
	}
	for name, c := range map[string]struct {
		change func([]tensor.Param) []tensor.Param
		want   string
	}{
		"all there": {func(p []tensor.Param) []tensor.Param { return p }, ""},
		"without MTP": {func(p []tensor.Param) (main []tensor.Param) {
			for _, p := range p {
				if !p.MTP {
					main = append(main, p)
				}
			}
			return main
		}, ""},
		"a parameter short": {func(p []tensor.Param) []tensor.Param {
			i := at("layers.3.attn.wkv.weight")
			return slices.Delete(p, i, i+1)
		}, `no tensor "layers.3.attn.wkv.weight"`},
		"a parameter more": {func(p []tensor.Param) []tensor.Param {
			return append(p, tensor.Param{Info: tensor.Info{Name: "layers.0.extra", DType: tensor.F32, Shape: []int{1}}})
		}, `tensor "layers.0.extra" is not one of this config`},
		"mHC weights as BF16": {func(p []tensor.Param) []tensor.Param {
			p[at("layers.1.hc_attn_fn")].DType = tensor.BF16
			return p
		}, `tensor "layers.1.hc_attn_fn": BF16 [24 1024], want F32 [24 1024]`},
		"a plain F32 matrix": {func(p []tensor.Param) []tensor.Param {
			i := at("layers.0.attn.wq_a.weight")
			p[i].DType, p[i].Native = tensor.F32, tensor.Plain
			return p
		}, `tensor "layers.0.attn.wq_a.weight": F32 [128 256], want BF16 [128 256]`},
		"a matrix the other way round": {func(p []tensor.Param) []tensor.Param {
			p[at("layers.0.attn.wq_a.weight")].Shape = []int{256, 128}
			return p
		}, `tensor "layers.0.attn.wq_a.weight": BF16 [256 128], want BF16 [128 256]`},
	} {
		t.Run(name, func(t *testing.T) {
			err := dsv4.Check(config, stored(c.change))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}
