package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxDifferences is how many differences an error names; it counts the rest.
const maxDifferences = 8

// differences says in what want differs from r, apart from Made, Tool and what
// tree leaves out, as
// "protocol.window 512, want 1024; …"; "" where in nothing. Fields are named as
// in the ledger, entries of a list by name.
func (r Run) differences(want Run) string {
	if r.Speed == nil && want.Speed == nil { // then threads and cores change no figure
		r.Engine.Threads, want.Engine.Threads = 0, 0
		r.Machine.Cores, want.Machine.Cores = 0, 0
	}
	var d []string
	diffTree(&d, "", r.tree(), want.tree())
	if more := len(d) - maxDifferences; more > 0 {
		d = append(d[:maxDifferences], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(d, "; ")
}

// tree returns what must agree as maps, lists and leaves, numbers undecoded.
func (r Run) tree() any {
	r.Made, r.Tool = time.Time{}, Tool{}
	// The digest is the model's identity, its name a folder's; and no figure
	// comes from how much memory there is.
	r.Model.Name, r.Machine.Memory = "", 0
	data, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("results: run: %v", err)) // refused by encode before
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var t any
	if err := d.Decode(&t); err != nil {
		panic(fmt.Sprintf("results: run: %v", err))
	}
	return t
}

// diffTree appends to d how want differs from got, both under path.
func diffTree(d *[]string, path string, got, want any) {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			diffMap(d, path, g, w)
			return
		}
	case []any:
		if g, ok := got.([]any); ok {
			diffList(d, path, g, w)
			return
		}
	}
	if g, w := leaf(got), leaf(want); g != w {
		*d = append(*d, fmt.Sprintf("%s %s, want %s", path, g, w))
	}
}

// diffMap compares field by field, in order of names.
func diffMap(d *[]string, path string, got, want map[string]any) {
	keys := maps.Clone(got)
	maps.Copy(keys, want)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		sub := k
		if path != "" {
			sub = path + "." + k
		}
		diffTree(d, sub, got[k], want[k])
	}
}

// diffList compares entry by entry, but two lists of other names as a whole.
func diffList(d *[]string, path string, got, want []any) {
	g, w := names(got), names(want)
	if !slices.Equal(g, w) {
		*d = append(*d, fmt.Sprintf("%s %s, want %s", path, strings.Join(g, " "), strings.Join(w, " ")))
		return
	}
	for i := range want {
		diffTree(d, fmt.Sprintf("%s[%s]", path, w[i]), got[i], want[i])
	}
}

// names returns the names of a list's entries, or else their places.
func names(list []any) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = fmt.Sprint(i)
		if m, ok := e.(map[string]any); ok {
			if n, ok := m["name"].(string); ok {
				out[i] = n
			}
		}
	}
	return out
}

// leaf returns a value as the terminal shows it; "none" where it is absent.
func leaf(v any) string {
	switch x := v.(type) {
	case nil:
		return "none"
	case string:
		if x == "" {
			return `""`
		}
		return x
	case map[string]any, []any:
		data, _ := json.Marshal(x) // came from JSON
		return string(data)
	}
	return fmt.Sprint(v)
}
