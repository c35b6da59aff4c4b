package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"assay/engine/bundle"
	"assay/engine/tensor"
	"assay/engine/variant"
	"assay/results"
)

// measured is what a ledger says of one recipe.
type measured struct {
	run results.Run
	row results.Row
}

// measuredOf reads the figures of a recipe, told by its digest, from the ledger
// of a run on the same weights.
func measuredOf(dir string, m *model, recipe variant.Recipe) (*measured, error) {
	path := filepath.Join(dir, "ledger.jsonl")
	c, err := results.Read(path)
	if err != nil {
		return nil, err
	}
	digest, err := m.checkpoint.Digest()
	if err != nil {
		return nil, err
	}
	if c.Run.Model.Digest != digest {
		return nil, fmt.Errorf("%s: figures of other weights (%s, digest %.12s), want those of %s (%.12s)", path, c.Run.Model.Name, c.Run.Model.Digest, m.name, digest)
	}
	src := m.source
	src.Digest = digest
	v, err := variant.New(src, recipe)
	if err != nil {
		return nil, err
	}
	rows, err := results.Table(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	i := slices.IndexFunc(rows, func(r results.Row) bool { return r.Variant.Digest == v.Digest() })
	if i < 0 || !rows[i].Summary.KL.Known() {
		return nil, fmt.Errorf("%s: no complete figures of %s as it is now: score it by `assay eval --variants %s`", path, recipe.Name, recipe.Name)
	}
	return &measured{c.Run, rows[i]}, nil
}

// card is the bundle's README.md.
func (b *building) card() []byte {
	var w bytes.Buffer
	s := summary(b.opt, b.recipe, b.steps, b.layout)
	fmt.Fprintf(&w, "---\nlibrary_name: mlx\npipeline_tag: text-generation\ntags: [mlx, assay]\n---\n\n# %s, %s\n\n", b.model.name, s.Recipe)
	fmt.Fprintf(&w, "%s quantized for MLX by assay, recipe `%s`.\n\n", b.model.name, s.Recipe)
	fmt.Fprintf(&w, "| part | format | bytes |\n|---|---|---:|\n")
	for _, p := range partsOf(b.layout) {
		fmt.Fprintf(&w, "| %s | %s | %d |\n", p.class, p.formats, p.bytes)
	}
	fmt.Fprintf(&w, "| **all tensors** | %.3f bits per weight | **%d** (%s, %s) |\n\n", s.BitsWeight, s.Bytes, size(s.Bytes), gibibytes(s.Bytes))
	if s.Encoder != "" {
		fmt.Fprintf(&w, "Scales and biases of affine matrices are BF16, chosen by the encoder `%s`.\n", s.Encoder)
	}
	switch {
	case b.layout.MTP:
		fmt.Fprintf(&w, "The multi-token-prediction block is kept under upstream's names: %d bytes without it, %d with it.\n", s.BytesMain, s.BytesMTP)
	case s.BytesMTP > s.BytesMain:
		fmt.Fprintf(&w, "The multi-token-prediction block is left out: %d bytes without it, %d with it.\n", s.BytesMain, s.BytesMTP)
	}
	names := "Tensors are named as " + s.Runtime + " names them after its `sanitize`, a layer's experts stacked"
	if b.layout.PerExpert {
		names = "Tensors keep upstream's names, each expert apart; " + s.Runtime + " renames and stacks them when it loads"
	}
	fmt.Fprintf(&w, "%s (%s).\n`%s` says how the folder was made; `assay verify` checks it.\n\n## Quality\n\n", names, b.layout.Runtime.Source, bundle.ManifestName)
	b.measured.write(&w)
	return w.Bytes()
}

// write says what was measured, or that nothing was.
func (m *measured) write(w *bytes.Buffer) {
	if m == nil {
		w.WriteString("Not measured: the bundle was built without `--results`. `assay eval --variants RECIPE --out DIR` measures the recipe, whose weights these are, and `assay build` with `--results DIR` writes the figures here.\n")
		return
	}
	s, p, e := m.row.Summary, m.run.Protocol, m.run.Engine
	fmt.Fprintf(w, "| figure | value | 95 %% interval |\n|---|---:|---|\n")
	fmt.Fprintf(w, "| mean KL divergence from %s, nats a token | %.5f | %.5f to %.5f |\n", p.Reference, s.KL.Value, s.KL.Lo, s.KL.Hi)
	fmt.Fprintf(w, "| perplexity, exp(nats a token) | %.4f | %.4f to %.4f |\n", s.Perplexity.Value, s.Perplexity.Lo, s.Perplexity.Hi)
	fmt.Fprintf(w, "| perplexity over %s's | %.5f | %.5f to %.5f |\n", p.Reference, s.Ratio.Value, s.Ratio.Lo, s.Ratio.Hi)
	fmt.Fprintf(w, "| same first token as %s | %.2f %% | %.2f to %.2f %% |\n\n", p.Reference, 100*s.Top1.Value, 100*s.Top1.Lo, 100*s.Top1.Hi)
	var texts []string
	for _, t := range m.run.Texts {
		texts = append(texts, fmt.Sprintf("%s (SHA-256 %.12s)", t.Name, t.Digest))
	}
	fmt.Fprintf(w, "Protocol %s: windows of %d tokens, %d scored tokens in %d windows, of %s. Engine %s, activations %s, kv_sim %v; assay %s.\n",
		p.Name, p.Window, s.Scored, s.Windows, strings.Join(texts, ", "), e.Device, e.Activations, p.KVSim, m.run.Tool.Version)
}

// part is a class of tensors in a card.
type part struct {
	class   tensor.Class
	formats string
	bytes   int64
}

// partsOf adds a layout up by class, in the model's order.
func partsOf(l *bundle.Layout) []part {
	var out []part
	for _, m := range l.Modules {
		for _, s := range m.Steps {
			i := slices.IndexFunc(out, func(p part) bool { return p.class == s.Class })
			if i < 0 {
				out = append(out, part{class: s.Class})
				i = len(out) - 1
			}
			p := &out[i]
			p.bytes += s.Bytes
			if f := formatName(s); !slices.Contains(strings.Split(p.formats, ", "), f) {
				p.formats = strings.TrimPrefix(p.formats+", "+f, ", ")
			}
		}
	}
	return out
}

func formatName(s variant.Step) string {
	if s.Format == nil {
		return strings.ToLower(string(s.DType))
	}
	return s.Format.String()
}
