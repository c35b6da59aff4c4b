package inspect

import (
	"fmt"
	"math"
	"path"
	"slices"

	"assay/engine/bundle"
	"assay/engine/tensor"
)

// Report is what a folder is.
type Report struct {
	Kind    string       `json:"kind"`
	Names   string       `json:"names"`
	Unknown string       `json:"unknown,omitempty"` // why the model is not known
	Shards  int          `json:"shards"`
	Tensors int          `json:"tensors"`
	Bytes   int64        `json:"bytes"`
	DTypes  []DTypeCount `json:"dtypes"`
	Classes []ClassCount `json:"classes,omitempty"`
	Formats []FormatUse  `json:"formats,omitempty"`
	// BitsPerWeight is 8 · bytes / weights of the main model. Token tables count
	// as bytes and not as weights, as in a plan.
	BitsPerWeight float64          `json:"bits_per_weight,omitempty"`
	Globals       string           `json:"globals,omitempty"` // of config.json
	Overrides     int              `json:"overrides"`
	Scales        []ScaleHistogram `json:"scales,omitempty"`
	Sampled       Sampled          `json:"sampled"`
	Tokenizer     bool             `json:"tokenizer"`
	Template      bool             `json:"chat_template"`
	Ends          []string         `json:"eos,omitempty"`
	Files         []string         `json:"files"` // beside the weights
	Findings      int              `json:"findings"`
}

// DTypeCount is the tensors of one stored type.
type DTypeCount struct {
	DType   tensor.DType `json:"dtype"`
	Tensors int          `json:"tensors"`
	Bytes   int64        `json:"bytes"`
}

// ClassCount is the tensors of one part of the model. Its bits per weight leave
// token tables out.
type ClassCount struct {
	Class         tensor.Class `json:"class"`
	Tensors       int          `json:"tensors"`
	Bytes         int64        `json:"bytes"`
	Weights       int64        `json:"weights"`
	BitsPerWeight float64      `json:"bits_per_weight"`
	Formats       []string     `json:"formats"`
}

// FormatUse is the modules of one format as found in shapes, and what
// config.json says of them.
type FormatUse struct {
	Format   string `json:"format"`
	Modules  int    `json:"modules"`
	Weights  int64  `json:"weights"`
	Bytes    int64  `json:"bytes"`
	Override int    `json:"by_override"` // modules that an override names rightly
	Globals  int    `json:"by_globals"`  // modules that the globals are right for
	Wrong    int    `json:"wrong"`       // modules of which config.json says something else
}

// ScaleHistogram counts sampled scales of a format: by floor(log2 |scale|), or of
// an MX mode by the scale's exponent, byte − 127.
type ScaleHistogram struct {
	Format   string      `json:"format"`
	Scales   int         `json:"scales"`
	Negative int         `json:"negative"`
	Zero     int         `json:"zero"`
	Counts   map[int]int `json:"counts"`
}

// Report says what the folder is. It reads no weight but a sample.
func (f *Folder) Report(params Params, sample Sample) Report {
	c := &check{f: f, o: Options{Params: params}, jang: f.isJANG()}
	c.bindModel()
	r := Report{Kind: "safetensors of a model that assay does not know", Shards: len(f.shards), Tensors: len(f.names)}
	c.countTypes(&r)
	if c.b == nil {
		r.Unknown = "no config.json that can be read"
		for _, x := range c.list {
			r.Unknown = x.Found
		}
	} else {
		r.Kind, r.Names = c.kind(), c.spellingText()
		c.declared, _ = readDeclared(f.config) // what is wrong with it is verify's
		if c.declared.there {
			r.Globals, r.Overrides = quantText(c.declared.globals.quant), len(c.declared.modules)
		}
		c.countClasses(&r)
		c.countFormats(&r)
		c.sampleScales(&r, sample)
	}
	a := readAssets(f.config, f.readPresent)
	r.Tokenizer, r.Template = a.tokenizer && a.fault == "", a.template != ""
	for _, e := range a.eos {
		r.Ends = append(r.Ends, fmt.Sprintf("%s %v", e.file, e.ids))
	}
	for _, n := range f.files {
		if ok, _ := path.Match("*.safetensors", n); !ok {
			r.Files = append(r.Files, n)
		}
	}
	r.Findings = len(Verify(f, Options{Params: params}).Findings)
	return r
}

func (c *check) countTypes(r *Report) {
	tensors, bytes := map[tensor.DType]int{}, map[tensor.DType]int64{}
	for _, e := range c.f.entries {
		tensors[e.DType]++
		if !e.bad {
			bytes[e.DType] += e.Bytes()
			r.Bytes += e.Bytes()
		}
	}
	for _, d := range byBytes(bytes) {
		r.DTypes = append(r.DTypes, DTypeCount{d, tensors[d], bytes[d]})
	}
}

// stored returns the bytes of a module.
func (m *module) stored() (n int64) {
	for _, e := range m.entries() {
		if !e.bad {
			n += e.Bytes()
		}
	}
	return n
}

func (m *module) weights() int64 { return int64(len(m.params)) * m.param().Elements() }

func (c *check) countClasses(r *Report) {
	at := map[tensor.Class]int{}
	tables := map[tensor.Class]int64{} // bytes of token tables, which are no weights
	var bytes, weights int64
	for _, m := range c.b.modules {
		class := m.param().Class
		if m.param().MTP {
			class = tensor.NextToken
		}
		i, ok := at[class]
		if !ok {
			i = len(r.Classes)
			at[class] = i
			r.Classes = append(r.Classes, ClassCount{Class: class})
		}
		k := &r.Classes[i]
		k.Tensors += len(m.entries())
		k.Bytes += m.stored()
		if m.param().DType != tensor.I64 {
			k.Weights += m.weights()
		} else {
			tables[class] += m.stored()
		}
		if m.found.Format != "" && !slices.Contains(k.Formats, m.found.Format) {
			k.Formats = append(k.Formats, m.found.Format)
		}
		if class != tensor.NextToken {
			bytes += m.stored()
			if m.param().DType != tensor.I64 {
				weights += m.weights()
			}
		}
	}
	for i := range r.Classes {
		k := &r.Classes[i]
		if k.Weights > 0 {
			k.BitsPerWeight = 8 * float64(k.Bytes-tables[k.Class]) / float64(k.Weights)
		}
	}
	if weights > 0 {
		r.BitsPerWeight = 8 * float64(bytes) / float64(weights)
	}
}

// loaderOf returns the first loader that the folder is meant for, or mlx-lm
// 0.31.3. The one that infers formats would find nothing wrong.
func (c *check) loaderOf() Loader {
	meant := c.meant()
	i := slices.IndexFunc(Loaders, func(l Loader) bool { return !l.Infers && l.reads(c.b.spelling) && meant[l.Names] })
	return Loaders[max(i, 0)]
}

func (c *check) countFormats(r *Report) {
	use := map[string]*FormatUse{}
	weights := map[string]int64{}
	for _, m := range c.b.modules {
		if m.found.Format == "" {
			continue
		}
		u, ok := use[m.found.Format]
		if !ok {
			u = &FormatUse{Format: m.found.Format}
			use[m.found.Format] = u
		}
		u.Modules++
		u.Weights += m.weights()
		u.Bytes += m.stored()
		weights[m.found.Format] = u.Weights
	}
	l := c.loaderOf()
	for _, t := range c.targets(l) {
		f, ok := t.found()
		if !ok || f.Format == "" || !c.declared.there {
			continue
		}
		u, n := use[f.Format], len(t.modules)
		switch x := c.declared.resolve(l, t.path, f); {
		case x.quant != f.Quant:
			u.Wrong += n
		case x.how == "override":
			u.Override += n
		case x.how == "globals":
			u.Globals += n
		}
	}
	for _, k := range byBytes(weights) {
		r.Formats = append(r.Formats, *use[k])
	}
}

// sampleScales makes the histograms.
func (c *check) sampleScales(r *Report, sample Sample) {
	if sample.Bytes <= 0 {
		return
	}
	at := map[string]*ScaleHistogram{}
	c.forRows(sample, &r.Sampled, func(x row) {
		name := x.m.found.Format
		h := at[name]
		if h == nil && (x.scales != nil || x.block != nil) {
			h = &ScaleHistogram{Format: name, Counts: map[int]int{}}
			at[name] = h
		}
		for _, e := range x.block {
			h.Scales++
			h.Counts[int(e)-127]++
		}
		if x.m.found.Quant.Mode == bundle.ModeNVFP4 {
			for _, e := range x.scales {
				h.add(float64(tensor.E4M3ToFloat32(e)))
			}
			return
		}
		if !x.m.found.affine() {
			for _, e := range x.scales {
				h.Scales++
				h.Counts[int(e)-127]++
			}
			return
		}
		for _, s := range floats(x.scales, x.m.scales.DType) {
			h.add(float64(s))
		}
	})
	for _, k := range sortedKeys(at) {
		r.Scales = append(r.Scales, *at[k])
	}
}

func (h *ScaleHistogram) add(s float64) {
	h.Scales++
	switch {
	case s < 0:
		h.Negative++
	case s == 0:
		h.Zero++
		return
	}
	if !math.IsNaN(s) && !math.IsInf(s, 0) {
		h.Counts[math.Ilogb(s)]++
	}
}
