package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity orders findings by what they do to whoever loads the folder.
type Severity int

const (
	// Note is worth knowing and nothing to repair.
	Note Severity = iota + 1
	// Warning loads, but is slower or worse, or fails in some runtimes.
	Warning
	// Error does not load, or loads wrong.
	Error
)

// String returns "note", "warning" or "error".
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("inspect.Severity(%d)", int(s))
}

// MarshalText writes what String returns.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing that is wrong, or worth knowing, about a folder. One
// that many tensors share stands once.
type Finding struct {
	ID          string   `json:"id"` // of the check, see Checks
	Severity    Severity `json:"severity"`
	Where       []string `json:"where"` // the first few tensors, modules or files
	Count       int      `json:"count"` // of all of them
	Found       string   `json:"found"`
	Wanted      string   `json:"wanted"`
	Consequence string   `json:"consequence"`
	Fix         string   `json:"fix"`
	Runtimes    []string `json:"runtimes,omitempty"` // whom it concerns; empty is all
}

// Subject returns the first few places and how many more there are.
func (f Finding) Subject() string {
	s := strings.Join(f.Where, ", ")
	if more := f.Count - len(f.Where); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// Checks names every check by its id. S01 to S18 are those of the MLX format
// specification, section 4.5; X01 on are assay's own.
var Checks = []struct{ ID, Title string }{
	{"S01", "headers can be read and hold together"},
	{"S02", "the index and the folder have the same files, and no tensor is there twice"},
	{"S03", "the index has the same tensors and bytes as the headers"},
	{"S04", "weight, scales and biases of a module fit each other"},
	{"S05", "bits and group size that the shapes mean are legal"},
	{"S06", "config.json gives each module the bits and group size it has"},
	{"S07", "scales, biases and mode belong together"},
	{"S08", "an MX mode has its own bits and group size"},
	{"S09", "entries of config.json are well formed and name modules"},
	{"S10", "vMLX's JANG loader, where it is asked for, guesses right from shapes"},
	{"S11", "scales have the type of the activations"},
	{"S12", "experts are stacked whole and alike"},
	{"S13", "every parameter of the model is there, and nothing else"},
	{"S14", "control tensors are F32"},
	{"S15", "config.json is one that the runtime takes"},
	{"S16", "shapes suit the fast kernels"},
	{"S17", "sampled weights are the source's"},
	{"S18", "sampled scales and weights are finite, and no scale is zero"},
	{"X01", "the index has the biases"},
	{"X02", "codes are packed in MLX's order"},
	{"X03", "scale, bias and code mean scale·code + bias"},
	{"X04", "who chose the scales"},
	{"X05", "experts are in the source's order"},
	{"X06", "all experts are there that the router can choose"},
	{"X07", "a tokenizer is there"},
	{"X08", "end-of-sequence ids agree"},
	{"X09", "the source's chat template is there"},
	{"X10", "files are as assay built them, to the byte"},
}

// shown is how many places a finding names.
const shown = 3

// mostFindings is how many different findings are kept apart.
const mostFindings = 500

// alike is what findings of one kind have in common.
type alike struct {
	id                              string
	severity                        Severity
	found, wanted, consequence, fix string
}

// findings collects, each kind once.
type findings struct {
	list []*Finding
	byOf map[alike]*Finding
	last map[*Finding]string // where each was found last: rows of one matrix count once
}

// add takes in a finding about one place.
func (f *findings) add(x Finding, where string) {
	if f.byOf == nil {
		f.byOf, f.last = map[alike]*Finding{}, map[*Finding]string{}
	}
	key := alike{x.ID, x.Severity, x.Found, x.Wanted, x.Consequence, x.Fix}
	old, ok := f.byOf[key]
	if !ok && len(f.list) >= mostFindings { // a hostile file: its names and numbers all differ
		x.Found, x.Wanted = "and others of this kind", ""
		key = alike{id: x.ID, severity: x.Severity}
		old, ok = f.byOf[key]
	}
	if !ok {
		x.Where, x.Count = nil, 0
		old = &x
		f.byOf[key] = old
		f.list = append(f.list, old)
	}
	if f.last[old] == where {
		return
	}
	f.last[old] = where
	if old.Count++; len(old.Where) < shown {
		old.Where = append(old.Where, where)
	}
}

// sorted returns the findings, worst first.
func (f *findings) sorted() []Finding {
	out := []Finding{}
	for _, x := range f.list {
		out = append(out, *x)
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// worst returns the worst severity of a list, or 0.
func worst(list []Finding) Severity {
	s := Severity(0)
	for _, f := range list {
		s = max(s, f.Severity)
	}
	return s
}
