// Package bundle is folders of MLX weights: how each runtime names a model's
// parameters, how a variant is laid out as tensors and shards and written, and
// how a folder that anybody made is opened again. It knows no model beyond the
// name tables in runtimes/; what is wrong with a folder is engine/inspect's.
package bundle

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"assay/engine/tensor"
)

//go:embed runtimes/*.json
var runtimeFiles embed.FS

// Runtime is how one loader names the parameters of a model.
type Runtime struct {
	Name   string `json:"name"`
	About  string `json:"about"`
	Source string `json:"source"`
	// Names are pairs of patterns, upstream's and the runtime's; the first that
	// fits decides. {layer} and {expert} stand for digits, {rest} for the rest.
	// Experts whose number the runtime's name leaves out are stacked.
	Names [][2]string `json:"names"`
	// Uncounted are the last parts of parameters that mlx-lm's
	// total_parameters leaves out, since no leaf module holds them.
	Uncounted []string `json:"uncounted"`
}

// DefaultRuntime is whose names a bundle has unless another is asked for.
const DefaultRuntime = "mlx-lm"

// Upstream is the spelling of the checkpoint itself, with every expert apart:
// what some bundles are stored in, for their loader to rename.
var Upstream = &Runtime{
	Name: "upstream", About: "the release's own names, each expert apart", Source: "the release's checkpoint",
	Names: [][2]string{{"{rest}", "{rest}"}},
}

var runtimes = sync.OnceValue(func() []*Runtime {
	var out []*Runtime
	files, _ := fs.Glob(runtimeFiles, "runtimes/*.json") // the pattern is good
	for _, name := range files {
		data, err := runtimeFiles.ReadFile(name)
		r := &Runtime{}
		if err == nil {
			err = json.Unmarshal(data, r)
		}
		if err != nil || r.Name != strings.TrimSuffix(path.Base(name), ".json") {
			panic(fmt.Sprintf("bundle: %s: %v", name, err)) // built in, and a test reads it
		}
		out = append(out, r)
	}
	return out
})

// Runtimes returns all runtimes that have a name table, by name.
func Runtimes() []*Runtime { return slices.Clone(runtimes()) }

// RuntimeOf returns a runtime by name. It errs, with the names, on any other.
func RuntimeOf(name string) (*Runtime, error) {
	var names []string
	for _, r := range runtimes() {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return nil, fmt.Errorf("bundle: no runtime is named %q, want %s", name, strings.Join(names, ", "))
}

// Place is where a runtime keeps a parameter.
type Place struct {
	Name   string // of the parameter, such as model.layers.0.ffn.switch_mlp.gate_proj.weight
	Expert int    // its index on the first axis of a stack, or -1
}

// Module returns the name without .weight: the path of the module that holds a
// matrix, by which config.json gives its format.
func (p Place) Module() string { return strings.TrimSuffix(p.Name, tensor.WeightSuffix) }

// Place returns where the runtime keeps the parameter that upstream calls name.
// It errs on a name that no pattern fits.
func (r *Runtime) Place(name string) (Place, error) {
	for _, pair := range r.Names {
		if found, ok := match(pair[0], name); ok {
			return found.place(pair[1]), nil
		}
	}
	return Place{}, fmt.Errorf("bundle: runtime %s has no name for %q", r.Name, name)
}

// found is what {layer}, {expert} and {rest} of a pattern stood for.
type found struct{ layer, expert, rest string }

// match fits a name to a pattern, part by part.
func match(pattern, name string) (f found, ok bool) {
	for pattern != "" {
		head, tail, hole := strings.Cut(pattern, "{")
		if name, ok = strings.CutPrefix(name, head); !ok {
			return f, false
		}
		if !hole {
			return f, name == ""
		}
		kind, tail, _ := strings.Cut(tail, "}")
		if pattern = tail; kind == "rest" {
			f.rest = name
			return f, name != ""
		}
		end := strings.IndexFunc(name, func(c rune) bool { return c < '0' || c > '9' })
		if end <= 0 {
			return f, false
		}
		if kind == "layer" {
			f.layer = name[:end]
		} else {
			f.expert = name[:end]
		}
		name = name[end:]
	}
	return f, name == ""
}

// place fills a runtime's pattern in.
func (f found) place(pattern string) Place {
	p := Place{Expert: -1}
	p.Name = strings.NewReplacer("{layer}", f.layer, "{expert}", f.expert, "{rest}", f.rest).Replace(pattern)
	if f.expert != "" && !strings.Contains(pattern, "{expert}") {
		p.Expert, _ = strconv.Atoi(f.expert) // digits that match found
	}
	return p
}
