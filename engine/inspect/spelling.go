package inspect

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"assay/engine/bundle"
	"assay/engine/tensor"
)

// Spelling is how the tensors of a folder are named: as a runtime names its
// parameters, or as upstream does, perhaps under another prefix.
type Spelling struct {
	Names *bundle.Runtime
	Strip string // of each name of Names, where it begins so
	Add   string // before each name
}

// String names the spelling, as in "upstream under model.".
func (s Spelling) String() string {
	text := s.Names.Name
	if s.Strip != "" {
		text += " without " + s.Strip
	}
	if s.Add != "" {
		text += " under " + s.Add
	}
	return text
}

// spellings are those that are looked for, the usual ones first.
func spellings() []Spelling {
	out := []Spelling{{Names: bundle.Upstream}}
	for _, r := range bundle.Runtimes() {
		out = append(out, Spelling{Names: r})
	}
	for _, prefix := range []string{"model.", "language_model.", "language_model.model."} {
		out = append(out, Spelling{Names: bundle.Upstream, Add: prefix})
	}
	for _, r := range bundle.Runtimes() {
		for _, prefix := range []string{"language_model.", "model."} {
			out = append(out, Spelling{Names: r, Strip: prefix}, Spelling{Names: r, Add: prefix})
		}
	}
	return out
}

// place returns what the spelling calls a parameter, and false where the
// runtime has no name for it.
func (s Spelling) place(name string) (bundle.Place, bool) {
	p, err := s.Names.Place(name)
	if err != nil {
		return p, false
	}
	p.Name = s.Add + strings.TrimPrefix(p.Name, s.Strip)
	return p, true
}

// module is what is stored for a matrix, a stack of experts, or a parameter
// that is no matrix.
type module struct {
	stem    string          // the name on disk without .weight and the like
	params  []*tensor.Param // one, or the experts of a stack in order
	stacked bool            // a runtime keeps them on a first axis
	weight  *entry          // nil where missing
	scales  *entry
	biases  *entry
	block   *entry // upstream's scale
	found   Found
	broken  bool // a finding says that it cannot be read; no further ones
}

// Suffixes of tensors that belong to a module.
const (
	weightSuffix = bundle.WeightSuffix
	scalesSuffix = bundle.ScalesSuffix
	biasesSuffix = bundle.BiasesSuffix
)

// parts returns the module's place for a suffix, or nil.
func (m *module) part(suffix string) **entry {
	switch suffix {
	case weightSuffix:
		return &m.weight
	case scalesSuffix:
		return &m.scales
	case biasesSuffix:
		return &m.biases
	case ".scale", ".weight_scale_inv", ".weight_scale":
		return &m.block
	}
	return nil
}

// entries returns the tensors that are there.
func (m *module) entries() []*entry {
	var out []*entry
	for _, e := range []*entry{m.weight, m.scales, m.biases, m.block} {
		if e != nil {
			out = append(out, e)
		}
	}
	return out
}

func (m *module) param() *tensor.Param { return m.params[0] }

// bound is a folder held against the parameters of its model.
type bound struct {
	spelling Spelling
	modules  []*module // that have a tensor, in the model's order
	missing  []*module // that have none
	extra    []string  // tensors of no parameter
	params   []tensor.Param
}

// bind finds the spelling with the most hits and gives each tensor to its
// module.
func (f *Folder) bind(params []tensor.Param) *bound {
	b := &bound{params: params, spelling: f.spelling(params)}
	all, want := want(b.spelling, params)
	for _, name := range f.names {
		if !give(want, f.entries[name]) {
			b.extra = append(b.extra, name)
		}
	}
	for _, m := range all {
		if len(m.entries()) == 0 {
			b.missing = append(b.missing, m)
		} else {
			b.modules = append(b.modules, m)
		}
	}
	return b
}

// spelling returns the spelling that gives the most of a sample of parameters a
// tensor. Unusual ones are tried only where the usual ones give less than half.
func (f *Folder) spelling(params []tensor.Param) Spelling {
	const sample = 1000
	step := max(1, len(params)/sample)
	var best Spelling
	most := -1
	for k, s := range spellings() {
		if k == 1+len(bundle.Runtimes()) && 2*most*step > len(params) {
			break
		}
		score := 0
		for i := 0; i < len(params); i += step {
			if p, ok := s.place(params[i].Name); ok && f.entries[p.Name] != nil {
				score++
			}
		}
		if score > most {
			best, most = s, score
		}
	}
	return best
}

// want returns the modules of a model in a spelling, in the model's order and by
// stem.
func want(s Spelling, params []tensor.Param) (all []*module, byStem map[string]*module) {
	byStem = make(map[string]*module, len(params))
	for i := range params {
		p := &params[i]
		place, ok := s.place(p.Name)
		if !ok {
			continue
		}
		stem := place.Name
		if strings.HasSuffix(p.Name, weightSuffix) {
			stem = place.Module()
		}
		m, ok := byStem[stem]
		if !ok {
			m = &module{stem: stem, stacked: place.Expert >= 0}
			byStem[stem] = m
			all = append(all, m)
		}
		m.params = append(m.params, p)
	}
	return all, byStem
}

// give puts a tensor into its module, and says whether it has one.
func give(want map[string]*module, e *entry) bool {
	if m, ok := want[e.Name]; ok && !strings.HasSuffix(m.param().Name, weightSuffix) {
		m.weight = e
		return true
	}
	at := strings.LastIndexByte(e.Name, '.')
	if at < 0 {
		return false
	}
	m, ok := want[e.Name[:at]]
	if !ok || !strings.HasSuffix(m.param().Name, weightSuffix) {
		return false
	}
	part := m.part(e.Name[at:])
	if part == nil || *part != nil {
		return false
	}
	*part = e
	return true
}

// mtp says whether a tensor of no parameter belongs to a multi-token-prediction
// block, which every loader drops.
func mtp(name string) bool { return strings.HasPrefix(bundle.PlainName(name), "mtp.") }

// stemOf returns the part of a tensor's name that names its module, and false
// for a name that no part of a matrix ends in.
func stemOf(name string) (string, bool) {
	at := strings.LastIndexByte(name, '.')
	if at < 0 || new(module).part(name[at:]) == nil {
		return name, false
	}
	return name[:at], true
}

// elsewhere returns the spelling in which a tensor of no parameter would be one
// after all, and none where there is none: a folder that mixes spellings.
func elsewhere(b *bound, extra []string) map[string]Spelling {
	out := map[string]Spelling{}
	left := map[string][]string{} // by plain name, whole and of the module
	for _, n := range extra {
		plain := bundle.PlainName(n)
		left[plain] = append(left[plain], n)
		if stem, ok := stemOf(plain); ok {
			left[stem] = append(left[stem], n)
		}
	}
	for _, names := range append([]*bundle.Runtime{bundle.Upstream}, bundle.Runtimes()...) {
		if len(out) == len(extra) {
			break
		}
		for i := range b.params {
			place, err := names.Place(b.params[i].Name)
			if err != nil {
				continue
			}
			stem, matrix := strings.CutSuffix(place.Name, weightSuffix)
			for _, n := range left[bundle.PlainName(stem)] {
				if _, done := out[n]; done {
					continue
				}
				if s, ok := spelled(names, stem, matrix, n); ok {
					out[n] = s
				}
			}
		}
	}
	return out
}

// spelled returns the spelling in which a tensor's name is that of a parameter,
// or of a part of it where it is a matrix.
func spelled(names *bundle.Runtime, stem string, matrix bool, name string) (Spelling, bool) {
	if matrix {
		var ok bool
		if name, ok = stemOf(name); !ok {
			return Spelling{}, false
		}
	}
	for _, s := range spellings() {
		if s.Names == names && s.Add+strings.TrimPrefix(stem, s.Strip) == name {
			return s, true
		}
	}
	return Spelling{}, false
}

// byBytes sorts keys by their bytes, the most first.
func byBytes[K cmp.Ordered](m map[K]int64) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
}
