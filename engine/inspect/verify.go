package inspect

import (
	"fmt"
	"slices"
	"strings"

	"assay/engine/bundle"
	"assay/engine/tensor"
)

// Options say how Verify looks.
type Options struct {
	Params Params  // the model's; required
	Loader *Loader // whose behaviour counts; nil is every loader that the names are for
	Source *Source // the checkpoint that the folder was made from, or nil
	Sample Sample
	Digest Digest // with it every byte is read and held against assay.json; nil reads none
}

// Result is what Verify found.
type Result struct {
	Findings []Finding `json:"findings"` // worst first
	Verdicts []Verdict `json:"runtimes"`
	Kind     string    `json:"kind"`
	Spelling string    `json:"names"`
	Tensors  int       `json:"tensors"`
	Sampled  Sampled   `json:"sampled"`
}

// Worst returns the severity of the worst finding, or 0.
func (r Result) Worst() Severity { return worst(r.Findings) }

// Verdict is what one runtime does with the folder.
type Verdict struct {
	Runtime string `json:"runtime"`
	Loads   bool   `json:"loads"`
	Text    string `json:"text"`
}

// check is one run of Verify. Findings that concern every loader are its own.
type check struct {
	findings
	f        *Folder
	o        Options
	b        *bound // nil where the model is unknown
	declared declared
	jang     bool                       // jang_config.json sends vMLX to its JANG loader
	upstream bool                       // FP8 or FP4 blocks with scales, as released
	byNames  map[string][]target        // by loader's names; made when needed
	leavesOf map[string]map[string]bool // likewise
}

// Verify looks for all that is wrong: headers and config first, of which it
// reads no weight, then a sample of weights. What it cannot tell it leaves out.
func Verify(f *Folder, o Options) Result {
	c := &check{f: f, o: o, jang: f.isJANG()}
	for _, x := range f.problems.list {
		y := *x
		c.list = append(c.list, &y)
	}
	c.checkFiles()
	c.bindModel()
	r := Result{Tensors: len(f.names)}
	var perLoader []loaded
	if c.b != nil {
		c.checkModel()
		perLoader = c.checkConfig()
		c.checkSamples(&r)
		r.Kind, r.Spelling = c.kind(), c.spellingText()
	}
	c.checkAssets()
	if o.Digest != nil {
		c.checkDigests(o.Digest)
	}
	r.Verdicts = c.verdicts(perLoader) // before the loaders' findings are merged
	r.Findings = c.merged(perLoader)
	return r
}

// bindModel finds the model of the config.
func (c *check) bindModel() {
	if c.f.config == nil {
		return // a finding says so
	}
	params, err := c.o.Params(modelConfig(c.f.config))
	if err != nil {
		c.add(Finding{ID: "S15", Severity: Error, Found: err.Error(), Wanted: "a model that assay knows",
			Consequence: "a runtime may load it, but nothing can be checked against the model", Fix: "copy config.json from the source"}, configName)
		return
	}
	if len(params) == 0 {
		return
	}
	c.b = c.f.bind(params)
	for _, m := range c.b.modules {
		c.checkModule(m)
		c.upstream = c.upstream || m.block != nil
	}
}

// loaded is what one loader's checks found.
type loaded struct {
	loader Loader
	fits   bool // it reads the folder's names
	meant  bool // it fits, and entries of config.json have its names if they have any runtime's
	findings
}

// checkConfig asks every loader.
func (c *check) checkConfig() []loaded {
	d, err := readDeclared(c.f.config)
	if err != nil {
		c.add(Finding{ID: "S09", Severity: Error, Found: err.Error(), Wanted: "an object", Consequence: "every loader raises at once", Fix: overrideFix}, quantizationKey)
	}
	c.declared = d
	c.checkTwin()
	c.checkActivations()
	if c.upstream {
		c.checkControl(Loader{}, &c.findings)
	}
	var out []loaded
	var fitting []Loader
	meant := c.meant()
	for _, l := range Loaders {
		if c.o.Loader != nil && c.o.Loader.Name != l.Name {
			continue
		}
		x := loaded{loader: l, fits: l.reads(c.b.spelling)}
		x.meant = x.fits && (meant[l.Names] || c.o.Loader != nil)
		if x.fits {
			fitting = append(fitting, l)
			if !c.upstream && err == nil {
				x.findings = c.checkLoader(l)
			}
		}
		out = append(out, x)
	}
	if len(fitting) == 0 {
		x := Finding{ID: "S13", Severity: Error, Found: "names of " + c.b.spelling.String(), Wanted: c.wantedNames(),
			Consequence: "the loader knows none of the names", Fix: "build the bundle for the runtime: assay build --runtime"}
		if s := c.b.spelling; s.Names == bundle.Upstream && s.Add == "model." {
			x.Consequence = "loaders take names under model. for their own, rename nothing and stack no expert: strict loading finds parameters not in the model"
		}
		c.add(x, "all tensors")
	} else if d.there && err == nil {
		c.checkKeys(fitting)
	}
	return out
}

// meant returns the runtimes that a folder is for: tensors in upstream's
// spelling are for the runtime whose names most entries of config.json have,
// and for all where none has.
func (c *check) meant() map[string]bool {
	alive := map[string]int{}
	most := 0
	out := map[string]bool{}
	for _, l := range Loaders {
		out[l.Names] = true
		if _, done := alive[l.Names]; done || !l.reads(c.b.spelling) {
			continue
		}
		alive[l.Names] = 0
		for _, t := range c.targets(l) {
			if _, ok := c.declared.modules[t.path]; ok {
				alive[l.Names]++
			}
		}
		most = max(most, alive[l.Names])
	}
	for names := range out {
		out[names] = most == 0 || alive[names] == most
	}
	return out
}

func (c *check) wantedNames() string {
	if c.o.Loader != nil {
		return "names of " + c.o.Loader.Names + ", or upstream's"
	}
	return "names of a runtime, or upstream's"
}

// merged returns all findings: those of every loader, and those of the loaders
// that the folder is meant for. One that some of these have and others have not,
// or have as less, is a warning. It names whom it concerns unless that is every
// loader that reads the folder's names.
func (c *check) merged(per []loaded) []Finding {
	type key struct{ id, found, wanted, where string }
	keyOf := func(x *Finding) key { return key{x.ID, x.Found, x.Wanted, fmt.Sprint(x.Where, x.Count)} }
	have := map[key]map[Severity][]string{} // names of loaders
	fitting, meant := 0, 0
	for _, l := range per {
		if l.fits {
			fitting++
		}
		if l.meant {
			meant++
		}
		for _, x := range l.list {
			k := keyOf(x)
			if have[k] == nil {
				have[k] = map[Severity][]string{}
			}
			have[k][x.Severity] = append(have[k][x.Severity], l.loader.Name)
		}
	}
	at := map[key]*Finding{}
	worst := map[key]int{} // loaders that the folder is meant for and that have it at its worst
	for _, l := range per {
		for _, x := range l.list {
			k := keyOf(x)
			switch y := at[k]; {
			case !l.meant:
			case y == nil:
				y = new(*x)
				at[k], worst[k] = y, 1
				c.list = append(c.list, y)
			case x.Severity == y.Severity:
				worst[k]++
			case x.Severity > y.Severity:
				y.Severity, worst[k] = x.Severity, 1
			}
		}
	}
	for k, y := range at {
		if y.Runtimes = have[k][y.Severity]; len(y.Runtimes) == fitting {
			y.Runtimes = nil
		}
		if y.Severity == Error && worst[k] < meant {
			y.Severity = Warning
		}
	}
	return c.sorted()
}

// verdicts says in a sentence what each loader does.
func (c *check) verdicts(per []loaded) []Verdict {
	out := []Verdict{} // JSON has [], not null
	for _, l := range per {
		out = append(out, c.verdict(l))
	}
	return out
}

func (c *check) verdict(l loaded) Verdict {
	v := Verdict{Runtime: l.loader.Name}
	if c.upstream {
		v.Text = "not a bundle: an upstream checkpoint, for assay build"
		return v
	}
	if !l.fits {
		v.Text = "no: the tensors have the names of " + c.b.spelling.String()
		return v
	}
	bad, warned := "", 0
	for _, x := range slices.Concat(c.list, l.list) {
		switch {
		case x.Severity == Error && bad == "":
			bad = fmt.Sprintf("no: %s, %s: %s", x.ID, x.Subject(), x.Consequence)
		case x.Severity == Warning:
			warned++
		}
	}
	switch {
	case bad != "":
		v.Text = bad
		return v
	case warned > 0 && l.meant:
		v.Text = "loads, with the warnings above"
	case warned > 0:
		v.Text = "loads, with warnings of its own: see --runtime " + l.loader.Name
	default:
		v.Text = "loads"
	}
	v.Loads = true
	v.Text += c.caveat(l.loader)
	return v
}

// caveat adds what no file of the folder can change.
func (c *check) caveat(l Loader) string {
	switch {
	case l.Names == "mlx-lm":
		return "; needs a build with this model (pull request 1192, oMLX): no release up to 0.32.2 has it"
	case l.JANG && !c.jang:
		if n, example := c.misread(); n > 0 {
			return fmt.Sprintf("; JANG's own loader, which this folder does not ask for, would take %d modules for others (%s)", n, example)
		}
	}
	return ""
}

// kind names what the folder is.
func (c *check) kind() string {
	weights := map[string]int64{}
	for _, m := range c.b.modules {
		if !m.param().Class.Quantizable() || m.broken {
			continue
		}
		family := m.found.Format
		if m.found.quantized() {
			family = m.found.Quant.Mode
		}
		weights[family] += int64(len(m.params)) * m.param().Elements()
	}
	names := byBytes(weights)
	quantized := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "bf16" || n == "f16" || n == "f32" })
	switch {
	case c.upstream:
		return "upstream checkpoint (" + strings.Join(names, ", ") + ")"
	case len(names) == 0:
		return "safetensors without a matrix of the model"
	case len(quantized) == 0:
		return "plain " + strings.Join(names, ", ")
	case len(quantized) == 1 && quantized[0] == bundle.ModeAffine:
		return "MLX affine"
	case len(quantized) == 1:
		return "MLX " + quantized[0]
	}
	return "MLX mixed (" + strings.Join(quantized, ", ") + ")"
}

// spellingText names whose names the tensors have and how experts are stored.
func (c *check) spellingText() string {
	for _, m := range c.b.modules {
		if m.param().Class == tensor.RoutedExpert && m.stacked {
			return c.b.spelling.String() + ", experts stacked"
		}
	}
	return c.b.spelling.String() + ", each expert apart"
}
