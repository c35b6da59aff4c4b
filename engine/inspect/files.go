package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"assay/engine/bundle"
	"assay/engine/mx"
	"assay/engine/tensor"
)

const indexFix = "assay verify --fix writes the index anew"

// checkFiles holds files, headers and index against each other.
func (c *check) checkFiles() {
	c.checkMetadata()
	if c.f.index == nil {
		if len(c.f.shards) > 1 && !c.f.hasFile(indexName) {
			c.add(Finding{ID: "S02", Severity: Warning, Found: fmt.Sprintf("no index for %d files", len(c.f.shards)), Wanted: indexName,
				Consequence: "mlx-lm loads every file and needs none, but sharded loading and other tools do", Fix: indexFix}, indexName)
		}
	} else {
		c.checkShards()
		c.checkIndex()
	}
	if c.jang {
		for _, s := range c.f.shards {
			if ok, _ := path.Match("model-*.safetensors", s.name); !ok {
				c.add(Finding{ID: "S02", Severity: Error, Found: "a name without a hyphen", Wanted: "model-00001-of-00001.safetensors",
					Consequence: "JANG's loader does not see the file", Fix: "rename it, and in the index too"}, s.name)
			}
		}
	}
}

// checkMetadata looks for the format that readers other than MLX ask for.
func (c *check) checkMetadata() {
	packed := false
	for _, e := range c.f.entries {
		packed = packed || e.DType == tensor.U32
	}
	for _, s := range c.f.shards {
		if packed && !s.broken && s.metadata["format"] != "mlx" {
			c.add(Finding{ID: "S01", Severity: Note, Found: fmt.Sprintf("__metadata__ with format %q", clip(s.metadata["format"])), Wanted: "mlx",
				Consequence: "MLX loads it; transformers tells by it that the weights are MLX's", Fix: "none needed"}, s.name)
		}
	}
}

// checkShards holds the files that the index names against those that are there.
func (c *check) checkShards() {
	there := map[string]bool{}
	for _, s := range c.f.shards {
		there[s.name] = true
		if c.names(s.name) {
			continue
		}
		x := Finding{ID: "S02", Severity: Error, Found: "a file that the index does not name", Wanted: "no other file that matches " + shardPattern,
			Consequence: "mlx-lm loads it too, over tensors of the same name or as parameters too many", Fix: "remove it if it is stale, else " + indexFix}
		if !s.broken && !s.shares {
			x.ID, x.Severity, x.Consequence, x.Fix = "S03", Warning, staleText, indexFix
		}
		c.add(x, s.name)
	}
	lost := map[string]bool{}
	for name, file := range c.f.index.weightMap {
		lost[file] = lost[file] || c.f.entries[name] == nil
	}
	for _, file := range sortedKeys(lost) {
		x := Finding{ID: "S02", Severity: Error, Found: "the index names a file that is not there", Wanted: "every file of the index",
			Consequence: "its tensors are missing", Fix: "copy or download it again"}
		if !lost[file] {
			x.ID, x.Severity, x.Consequence, x.Fix = "S03", Warning, "its tensors are in other files; "+staleText, indexFix
		}
		if !there[file] {
			c.add(x, file)
		}
	}
}

// staleText says what comes of an index of other files.
const staleText = "mlx-lm reads no index and loads what is there, but tools that go by it, assay among them, refuse the folder"

// checkIndex holds the tensors and bytes of the index against the headers.
func (c *check) checkIndex() {
	sound := map[string]bool{} // files that are there and read to the end
	sum, whole := int64(0), true
	for _, s := range c.f.shards {
		sound[s.name] = !s.broken
		whole = whole && !s.broken
	}
	for _, name := range c.f.names {
		e := c.f.entries[name]
		if e.bad || e.twice {
			whole = false
		} else {
			sum += e.Bytes()
		}
		c.checkClaim(name, e)
	}
	for _, name := range sortedKeys(c.f.index.weightMap) {
		file := c.f.index.weightMap[name]
		whole = whole && c.f.hasFile(file)
		if c.f.entries[name] == nil && sound[file] {
			c.add(Finding{ID: "S03", Severity: Warning, Found: "in the index and in no file", Wanted: "the tensors of the headers",
				Consequence: "tools that go by the index fail", Fix: indexFix}, name)
		}
	}
	var total int64
	raw, ok := c.f.index.metadata["total_size"]
	if wrong := ok && (json.Unmarshal(raw, &total) != nil || string(raw) == "null"); wrong || ok && whole && total != sum {
		want := fmt.Sprint(sum)
		if !whole {
			want = "the bytes of all tensors"
		}
		c.add(Finding{ID: "S03", Severity: Warning, Found: "total_size " + clip(string(raw)), Wanted: want,
			Consequence: "tools that go by the index, assay among them, refuse the folder; mlx-lm does not read it", Fix: indexFix}, indexName)
	}
}

// checkClaim looks at where the index says that a tensor is.
func (c *check) checkClaim(name string, e *entry) {
	claim, ok := c.f.index.weightMap[name]
	if ok && (claim == e.shard.name || e.twice) {
		return
	}
	x := Finding{ID: "S03", Severity: Warning, Found: "not in the index", Wanted: "the tensors of the headers",
		Consequence: "tools that go by the index miss it; mlx-lm does not read it", Fix: indexFix}
	switch {
	case ok:
		x.Found = "in another file than the index says"
	case strings.HasSuffix(name, biasesSuffix):
		x.ID, x.Found = "X01", "biases that the index leaves out"
		x.Consequence = "mlx-lm does not read the index, but sharded loading and tools that go by it load the weights without their biases"
	}
	if !c.names(e.shard.name) || ok && !c.f.hasFile(claim) {
		return // the file has a finding
	}
	c.add(x, name)
}

// names says whether the index names a file.
func (c *check) names(file string) bool {
	if c.f.index.files == nil {
		c.f.index.files = map[string]bool{}
		for _, f := range c.f.index.weightMap {
			c.f.index.files[f] = true
		}
	}
	return c.f.index.files[file]
}

// checkTwin looks for what says how the bundle is quantized.
func (c *check) checkTwin() {
	quantized := ""
	for _, m := range c.b.modules {
		if m.found.quantized() {
			quantized = m.stem
			break
		}
	}
	method := upstreamMethod(c.f.config)
	_, twin := c.f.config[twinKey]
	x := Finding{ID: "S15", Wanted: "quantization, and quantization_config as its twin", Fix: overrideFix}
	switch {
	case c.upstream || quantized == "" && !c.declared.there && method == "":
		return
	case quantized == "" && method != "":
		x.Severity, x.Found, x.Wanted = Warning, fmt.Sprintf("quantization_config of %q over weights that are not so stored", clip(method)), "no quantization_config"
		x.Consequence = "transformers and others look for scales that are not there; mlx-lm takes no notice"
	case quantized != "" && !c.declared.there:
		return // each loader has its own way
	case method != "":
		x.Severity, x.Found = Warning, fmt.Sprintf("upstream's quantization_config of %q beside quantization", clip(method))
		x.Consequence = "mlx-lm reads quantization first; readers of the other key take the weights for upstream's"
	case quantized != "" && !twin:
		x.Severity, x.Found = Note, "no quantization_config"
		x.Consequence = "mlx-lm reads quantization; some readers look for the other key"
	case twin && !sameJSON(c.f.config[quantizationKey], c.f.config[twinKey]):
		x.Severity, x.Found = Warning, "quantization_config differs from quantization"
		x.Consequence = "readers of the one key and of the other build different modules"
	default:
		return
	}
	c.add(x, configName)
}

// checkActivations looks for products that are to quantize their input too,
// which MLX has for two modes. It asks linear layers only, which experts that
// are stacked, and the embedding, are not.
// Source: mlx_lm/utils.py, load_model, _maybe_qq.
func (c *check) checkActivations() {
	const key = "quantize_activations"
	raw, ok := c.f.config[key]
	if !ok || isFalse(string(raw)) {
		return
	}
	for _, m := range c.b.modules {
		p := m.param()
		if p.MTP || p.Class == tensor.Embedding || p.Class == tensor.RoutedExpert || !m.found.quantized() {
			continue
		}
		if mode := m.found.Quant.Mode; mode != bundle.ModeNVFP4 && mode != mx.FP8.String() {
			c.add(Finding{ID: "S15", Severity: Error, Found: fmt.Sprintf("%s is %s, and the module %s", key, clip(string(raw)), mode), Wanted: "nvfp4 or mxfp8 in all linear layers",
				Consequence: "mlx-lm raises: the mode does not support activation quantization", Fix: "remove " + key + " from config.json"}, m.stem)
		}
	}
}

// sameJSON says whether two values are the same but for order and spaces.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

// checkModel holds what is stored against the model's parameters.
func (c *check) checkModel() {
	c.checkMissing()
	c.checkExtra()
	for _, m := range c.b.modules {
		if !m.broken {
			c.checkScaleType(m)
			c.checkSpeed(m)
		}
	}
	c.checkAlike()
}
