package inspect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"assay/engine/bundle"
	"assay/engine/tensor"
)

// Loader is what a runtime does with a bundle, which differs by version.
type Loader struct {
	Name  string // as --runtime takes it
	Names string // of the bundle.Runtime whose names it has
	About string
	// Infers says that a module that no override names has the format that its
	// shapes and the type of its scales mean. Else it has the globals.
	Infers bool
	// JANG says that the loader guesses from shapes where jang_config.json asks
	// for it, and refuses control tensors that are not F32.
	JANG bool
}

// Loaders are the runtimes whose behaviour is known.
// Source: the MLX format specification, 3.5, 3.6 and 4.1; mlx_lm/utils.py,
// load_model, of 0.31.3 and of 0.32.2.
var Loaders = []Loader{
	{Name: "mlx-lm-0.31.3", Names: "mlx-lm", About: "mlx-lm up to 0.31.3: what no override names has the globals"},
	{Name: "mlx-lm", Names: "mlx-lm", About: "mlx-lm 0.32.0 and later: what no override names is inferred from shapes", Infers: true},
	{Name: "mlx-vlm", Names: "mlx-vlm", About: "mlx-vlm: what no override names has the globals"},
	{Name: "vmlx", Names: "vmlx", About: "vMLX: what no override names has the globals, or with jang_config.json a guess from shapes", JANG: true},
}

// LoaderOf returns the loader of a name. It errs, with the names, on any other.
func LoaderOf(name string) (Loader, error) {
	var names []string
	for _, l := range Loaders {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return Loader{}, fmt.Errorf("inspect: no runtime is named %q, want %s", name, strings.Join(names, ", "))
}

// reads says whether a loader understands a spelling: its own names, or
// upstream's, which it renames when it loads. What begins with model. a loader
// takes for its own.
func (l Loader) reads(s Spelling) bool {
	switch {
	case s.Names == bundle.Upstream:
		return s.Add == "" || s.Add != "model." && l.Names == "mlx-vlm"
	case s.Add == "language_model." && s.Strip == "":
		return s.Names.Name == "mlx-lm" && l.Names == "mlx-vlm"
	}
	return s.Names.Name == l.Names && s.Add == "" && s.Strip == ""
}

// target is a module of a loader's model: one stored module, or the experts
// that it stacks.
type target struct {
	path    string
	modules []*module
}

// found returns how the module is stored, and false where its parts differ or
// are broken.
func (t target) found() (Found, bool) {
	f := t.modules[0].found
	for _, m := range t.modules {
		if m.broken || m.found.Quant != f.Quant {
			return f, false
		}
	}
	return f, true
}

// targets returns which of the modules the loader has to quantize or leave, in
// the model's order, without the multi-token-prediction block, which it drops.
func targets(modules []*module, names *bundle.Runtime) []target {
	at := map[string]int{}
	var out []target
	for _, m := range modules {
		p := m.param()
		if p.MTP || !strings.HasSuffix(p.Name, weightSuffix) || len(p.Shape) < 2 {
			continue
		}
		place, err := names.Place(p.Name)
		if err != nil {
			continue
		}
		path := place.Module()
		i, ok := at[path]
		if !ok {
			i = len(out)
			at[path] = i
			out = append(out, target{path: path})
		}
		out[i].modules = append(out[i].modules, m)
	}
	return out
}

// targets returns those of all modules that have a tensor.
func (c *check) targets(l Loader) []target {
	list, ok := c.byNames[l.Names]
	if !ok {
		list = targets(c.b.modules, c.namesOf(l))
		if c.byNames == nil {
			c.byNames = map[string][]target{}
		}
		c.byNames[l.Names] = list
	}
	return list
}

// resolved is what a loader makes of a module, and by which way.
type resolved struct {
	quant bundle.Quant // zero: not quantized
	how   string       // override, inferred, globals, none
}

func (d declared) resolve(l Loader, path string, f Found) resolved {
	s, ok := d.modules[path]
	switch {
	case !ok && !f.quantized():
		return resolved{how: "none"}
	case !ok && l.Infers:
		return resolved{f.Quant, "inferred"}
	case !ok:
		return resolved{d.globals.quant, "globals"}
	case s.kind == on:
		return resolved{d.globals.quant, "globals"}
	case s.kind == object:
		return resolved{s.quant, "override"}
	}
	return resolved{how: "override"}
}

// checkLoader holds the config against what is stored, as one loader resolves
// it.
func (c *check) checkLoader(l Loader) findings {
	var out findings
	c.checkControl(l, &out)
	d, ok := c.declared, true
	if !d.there {
		d, ok = c.legacy(l, &out)
	}
	if !ok {
		return out
	}
	list := c.targets(l)
	if l.JANG && c.jang && c.declared.there {
		c.checkGuesses(list, &out)
		return out
	}
	for _, t := range list {
		if f, ok := t.found(); ok {
			c.checkResolved(l, d, t, f, &out)
		}
	}
	c.checkUnquantizable(l, &out)
	return out
}

// usesGlobals says whether a loader gives the globals to some module.
func (c *check) usesGlobals(l Loader) bool {
	return slices.ContainsFunc(c.targets(l), func(t target) bool {
		f, ok := t.found()
		return ok && f.quantized() && c.declared.resolve(l, t.path, f).how == "globals"
	})
}

// leaves returns the modules of a loader's model that hold parameters and no
// other module, which are those that it may quantize.
func (c *check) leaves(l Loader) map[string]bool {
	if out, ok := c.leavesOf[l.Names]; ok {
		return out
	}
	parent := func(path string) string { return path[:max(0, strings.LastIndexByte(path, '.'))] }
	out, inner := map[string]bool{}, map[string]bool{}
	for _, p := range c.b.params {
		place, err := c.namesOf(l).Place(p.Name)
		if err != nil || p.MTP {
			continue
		}
		path := parent(place.Name)
		if path == "" || out[path] {
			continue
		}
		out[path] = true
		for at := parent(path); at != "" && !inner[at]; at = parent(at) {
			inner[at] = true
		}
	}
	for path := range inner {
		delete(out, path)
	}
	if c.leavesOf == nil {
		c.leavesOf = map[string]map[string]bool{}
	}
	c.leavesOf[l.Names] = out
	return out
}

// checkUnquantizable looks for entries that ask for a module which cannot be
// quantized, such as a norm.
func (c *check) checkUnquantizable(l Loader, out *findings) {
	var asked []string
	for _, key := range sortedKeys(c.declared.modules) {
		if c.declared.modules[key].kind != off {
			asked = append(asked, key)
		}
	}
	paths := map[string]bool{}
	for _, t := range slices.Concat(c.targets(l), targets(c.b.missing, c.namesOf(l))) {
		paths[t.path] = true
	}
	asked = slices.DeleteFunc(asked, func(key string) bool { return paths[key] })
	if len(asked) == 0 {
		return
	}
	leaves := c.leaves(l)
	for _, key := range asked {
		if leaves[key] {
			out.add(Finding{ID: "S09", Severity: Error, Found: "an entry for a module that cannot be quantized", Wanted: "entries for matrices only, or false",
				Consequence: "MLX raises: unable to quantize a module of that type", Fix: overrideFix}, key)
		}
	}
}

func (c *check) namesOf(l Loader) *bundle.Runtime {
	r, err := bundle.RuntimeOf(l.Names)
	if err != nil {
		panic(err) // Loaders names runtimes that there are, and a test holds it to that
	}
	return r
}

const overrideFix = "assay verify --fix writes an override for every module, named as the runtime names it"

// checkResolved compares what the loader takes a module for with what it is.
func (c *check) checkResolved(l Loader, d declared, t target, f Found, out *findings) {
	r := d.resolve(l, t.path, f)
	stored := "not quantized"
	if f.quantized() {
		stored = quantText(f.Quant)
	}
	x := Finding{Severity: Error, Wanted: stored, Fix: overrideFix}
	switch {
	case r.how == "inferred":
		c.checkInferred(d, t, f, stored, out)
		return
	case d.modules[t.path].kind == malformed:
		return // S09 says so
	case r.how == "globals" && d.globals.fatal:
		out.add(Finding{ID: "S09", Severity: Error, Found: strings.Join(d.globals.faults, "; ") + ", and modules that have the globals", Wanted: "whole numbers group_size and bits, and mode",
			Consequence: "the loader raises a TypeError or a ValueError", Fix: overrideFix}, quantizationKey)
		return
	case r.quant == f.Quant:
		return
	case r.how == "globals":
		x.ID, x.Found = "S06", c.missText(t)
		x.Consequence = l.globalsText(r.quant, f)
		if s, ok := d.modules[t.path]; ok && s.kind == on {
			x.Found, x.Consequence = "true, which means the globals, "+quantText(r.quant), strictText(r.quant, f)
		}
	case !f.quantized() || r.quant.Bits == 0:
		x.ID, x.Found, x.Consequence = "S06", "override "+c.quantOf(r), "parameters are missing or left over: strict loading fails"
	case badConstants(r.quant):
		x.ID, x.Found = "S08", "override "+quantText(r.quant)
		x.Consequence = "the mode has bits and a group size of its own: MLX raises"
	case (r.quant.Mode == bundle.ModeAffine) != f.affine():
		x.ID, x.Found = "S07", "override "+quantText(r.quant)
		x.Consequence = strictText(r.quant, f)
	default:
		x.ID, x.Found = "S06", "override "+quantText(r.quant)
		x.Consequence = strictText(r.quant, f)
	}
	out.add(x, t.path)
}

// globalsText says what comes of a module that a loader gives the globals.
func (l Loader) globalsText(globals bundle.Quant, f Found) string {
	text := "the module is built with the globals, " + quantText(globals) + "; " + strictText(globals, f)
	if l.Names == "mlx-lm" {
		return "up to mlx-lm 0.31.3 " + text + "; 0.32.0 and later infer it"
	}
	return text
}

func (c *check) quantOf(r resolved) string {
	if r.quant.Bits == 0 {
		return "says not quantized"
	}
	return quantText(r.quant)
}

// missText says which entry of config.json was meant for a module that none
// names.
func (c *check) missText(t target) string {
	if _, ok := c.declared.modules[t.modules[0].stem]; ok {
		return "no override of that name, but one for the name on disk"
	}
	return "no override, and other globals"
}

// checkInferred warns where only inference saves a module.
func (c *check) checkInferred(d declared, t target, f Found, stored string, out *findings) {
	g := d.globals.quant
	if f.Quant == g || d.globals.absent {
		return
	}
	out.add(Finding{ID: "S06", Severity: Warning, Found: c.missText(t), Wanted: stored, Fix: overrideFix,
		Consequence: "mlx-lm 0.32.0 and later infer it; up to 0.31.3 the module is built with the globals, " + quantText(g) + "; " + strictText(g, f)}, t.path)
}

// badConstants says whether an MX mode is given other numbers than its own.
func badConstants(q bundle.Quant) bool {
	d, ok := bundle.ModeDefaults(q.Mode)
	return ok && q.Mode != bundle.ModeAffine && q != d
}

// strictText says what comes of a module stored as f and built as q.
func strictText(q bundle.Quant, f Found) string {
	switch {
	case q.Mode == bundle.ModeAffine && !f.affine():
		return "strict loading misses the biases, and without it the output is silently wrong"
	case q.Mode != bundle.ModeAffine && f.affine():
		return "strict loading finds biases too many, and without it the first token raises"
	}
	return "strict loading fails on the shape, and without it the first token raises"
}

// checkControl looks at tensors that must stay F32.
func (c *check) checkControl(l Loader, out *findings) {
	severity := Warning
	if l.JANG {
		severity = Error
	}
	for _, m := range c.b.modules {
		p := m.param()
		if p.DType != tensor.F32 || p.MTP || m.broken || m.weight.DType == tensor.F32 {
			continue
		}
		out.add(Finding{ID: "S14", Severity: severity, Found: string(m.weight.DType), Wanted: "F32",
			Consequence: "hyper-connections and sinks drift, which shows as repetition; vMLX refuses the bundle, mlx-lm loads it without a word",
			Fix:         "build the bundle again with F32 control tensors"}, m.weight.Name)
	}
}

// checkKeys looks at the form of the entries and for entries that no loader of
// the folder looks up.
func (c *check) checkKeys(loaders []Loader) {
	d := c.declared
	x := Finding{ID: "S09", Severity: Warning, Found: strings.Join(d.globals.faults, "; "), Wanted: "whole numbers group_size and bits, and mode",
		Consequence: "no loader of these names uses it, since every module has an entry or is inferred; other readers may", Fix: overrideFix}
	switch {
	case d.globals.absent:
		x.Severity, x.Consequence = Error, "every loader raises at once"
		c.add(x, quantizationKey)
	case x.Found != "" && !slices.ContainsFunc(loaders, c.usesGlobals):
		c.add(x, quantizationKey)
	}
	paths, leaves := map[string]target{}, map[string]bool{}
	for _, l := range loaders {
		maps.Copy(leaves, c.leaves(l))
		for _, t := range targets(c.b.missing, c.namesOf(l)) {
			paths[t.path] = t
		}
		for _, t := range c.targets(l) {
			paths[t.path] = t
		}
	}
	stems := map[string]bool{}
	for _, m := range c.b.modules {
		stems[m.stem] = true
	}
	for _, key := range sortedKeys(d.modules) {
		s := d.modules[key]
		t, alive := paths[key]
		switch {
		case alive:
			c.checkForm(key, s, t)
		case leaves[key], s.kind == malformed && !strings.Contains(key, "."): // a note to oneself, such as routed_expert_bits
		case !stems[key] && !mtp(key):
			c.add(Finding{ID: "S09", Severity: Warning, Found: "an entry for a module that there is not", Wanted: "names as the runtime has them after it has renamed the tensors",
				Consequence: "the entry is dead: no loader looks it up", Fix: overrideFix}, key)
		}
	}
}

// checkForm looks at an entry that is looked up.
func (c *check) checkForm(key string, s setting, t target) {
	if len(s.faults) == 0 {
		return
	}
	x := Finding{ID: "S09", Severity: Warning, Found: strings.Join(s.faults, "; "), Wanted: "whole numbers group_size and bits, and mode",
		Consequence: "what is left out takes the mode's default, not the globals; it happens to be right", Fix: overrideFix}
	f, ok := t.found()
	switch {
	case s.kind == malformed:
		x.Severity, x.Wanted, x.Consequence = Error, "an object of group_size, bits and mode, or false", "the loader raises: it takes true, false or an object"
	case s.fatal:
		x.Severity, x.Consequence = Error, "the loader raises a TypeError or a ValueError"
	case ok && s.quant != f.Quant:
		return // S06 or S07 says so
	case slices.Equal(s.faults, []string{"no mode, which is then affine"}):
		x.Severity = Note
	}
	c.add(x, key)
}
