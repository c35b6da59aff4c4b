package dsv4

import (
	"fmt"
	"strings"

	"assay/engine"
)

// The parts of a pass are the embedding, each layer's attention and
// feed-forward sublayers, and the merge of the streams.
func parts(c *Config) int { return 2*c.NumHiddenLayers + 2 }

// partName names a part for people.
func partName(c *Config, part int) string {
	switch {
	case part == 0:
		return "embedding"
	case part == parts(c)-1:
		return "final norm"
	case part%2 == 1:
		return fmt.Sprintf("layer %d attention", (part-1)/2)
	}
	return fmt.Sprintf("layer %d experts", (part-1)/2)
}

// partOf returns the part that takes a parameter of the main model, or -1 for
// the output projection.
func partOf(c *Config, name string, layer int) int {
	switch {
	case layer < 0 && name == "embed.weight":
		return 0
	case layer < 0 && name == "head.weight":
		return -1
	case layer < 0:
		return parts(c) - 1
	}
	at := strings.TrimPrefix(name, fmt.Sprintf("layers.%d.", layer))
	if strings.HasPrefix(at, "attn") || strings.HasPrefix(at, "hc_attn") {
		return 1 + 2*layer
	}
	return 2 + 2*layer
}

// passBytes is about how much the arrays between a pass's operations may take;
// it decides how many tokens run together.
const passBytes = 256 << 20

// PassTokens returns the tokens that a pass runs at once.
func PassTokens(c *Config) int {
	return int(min(max(passBytes/WorkspaceBytes(c, 1), 128), 4096))
}

// PassLayout lays out windows of the given lengths. Scratch is the arrays
// between operations, rotary tables, and the states in one layer of the windows
// that run together.
func PassLayout(c *Config, lengths []int) engine.Layout {
	l := engine.Layout{Parts: make([]engine.PartInfo, parts(c)), Width: c.HCMult * c.HiddenSize, Hidden: c.HiddenSize, Vocab: c.VocabSize}
	l.Head = engine.PartInfo{Name: "output projection", Params: []string{"head.weight"}, FLOPs: []int64{headFLOPs(c)}}
	total, longest := 0, 0
	var states int64
	for at := 0; at < len(lengths); {
		g := engine.Group{From: at, To: at}
		var sum int64
		for g.To < len(lengths) && (g.To == at || g.Tokens+lengths[g.To] <= PassTokens(c)) {
			n := lengths[g.To]
			g.To++
			g.Tokens += n
			longest = max(longest, n)
			sum += 4 * largestState(c, n)
		}
		l.Groups = append(l.Groups, g)
		total += g.Tokens
		states = max(states, sum)
		at = g.To
	}
	l.Scratch = WorkspaceBytes(c, min(PassTokens(c), total)) + ropeBytes(c, longest) + states
	for i := range l.Parts {
		l.Parts[i].Name = partName(c, i)
		for _, g := range l.Groups {
			var n int64
			for _, tokens := range lengths[g.From:g.To] {
				n += partFLOPs(c, i, tokens)
			}
			l.Parts[i].FLOPs = append(l.Parts[i].FLOPs, n)
		}
	}
	for _, p := range Params(c) {
		if p.MTP {
			continue
		}
		if i := partOf(c, p.Name, p.Layer); i >= 0 {
			l.Parts[i].Params = append(l.Parts[i].Params, p.Name)
		}
	}
	return l
}

// largestState returns the elements of the largest layer's state.
func largestState(c *Config, tokens int) int64 {
	var most int64
	for i := range c.NumHiddenLayers {
		most = max(most, layerElements(c, i, tokens))
	}
	return most
}
