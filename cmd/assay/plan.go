package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"assay/engine/dsv4"
	"assay/engine/variant"
	"assay/metal"
)

func planCommand() *cobra.Command {
	var name, variants string
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan",
		Short: "What every variant costs, from a config alone",
		Long: `plan prints, without reading a weight: exact tensor bytes of each variant (main
model, and with the MTP block), bits per weight, weight bytes that one decoded
token reads, what each choice saves, and which Mac memory sizes hold weights,
KV cache and scratch.`,
		Example: `  assay plan --model deepseek-v4-flash
  assay plan --model deepseek-v4-flash --variants g32-n8-e4,g128-n6-e3 --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := openConfig(name)
			if err != nil {
				return err
			}
			defer m.close()
			plans, err := plansOf(m, variants)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), planJSON{Model: m.name, Variants: plans})
			}
			return printPlan(c.OutOrStdout(), m, plans)
		},
	}
	f := c.Flags()
	f.StringVar(&name, "model", referenceModel, modelHelp)
	f.StringVar(&variants, "variants", strings.Join(append(variant.Grid(), variant.Native, variant.BF16), ","),
		"names and recipe files (.yaml) with commas between: "+variant.Grammar)
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

type planJSON struct {
	Model    string    `json:"model"`
	Variants []planRow `json:"variants"`
}

type planRow struct {
	Name          string    `json:"name"`
	BytesMain     int64     `json:"bytes_main"`
	BytesTotal    int64     `json:"bytes_total"`
	BitsPerWeight float64   `json:"bits_per_weight"`
	BytesPerToken int64     `json:"bytes_per_token"`
	Fits          []fitsRow `json:"fits"`
}

// fitsRow says whether a variant runs on a Mac of some memory with a cache of
// some depth.
type fitsRow struct {
	MacGB   int   `json:"mac_gb"`
	Depth   int   `json:"depth"`
	Bytes   int64 `json:"bytes"`   // weights, cache and scratch
	Default bool  `json:"default"` // within the GPU's default limit
	Raised  bool  `json:"raised"`  // within the limit that a user may set
}

func plansOf(m *model, names string) ([]planRow, error) {
	recipes, err := recipesOf(names)
	if err != nil {
		return nil, err
	}
	var out []planRow
	for _, r := range recipes {
		steps, err := r.Plan(m.params)
		if err != nil {
			return nil, err
		}
		t := variant.Sum(steps)
		out = append(out, planRow{Name: r.Name, BytesMain: t.BytesMain, BytesTotal: t.BytesTotal,
			BitsPerWeight: t.BitsPerWeight(), BytesPerToken: t.BytesPerToken, Fits: fitsOf(m.config, t.BytesMain)})
	}
	return out, nil
}

// planChunk is the tokens of prefill at once where scratch is planned.
const planChunk = 512

// runBytes is what a variant takes while it runs: weights, the KV cache of one
// sequence at a depth, and scratch.
func runBytes(c *dsv4.Config, bytesMain int64, depth int) int64 {
	return bytesMain + dsv4.StateBytes(c, depth, cacheElement) + dsv4.WorkspaceBytes(c, planChunk)
}

func fitsOf(c *dsv4.Config, bytesMain int64) []fitsRow {
	var out []fitsRow
	for _, gb := range metal.MacGB {
		for _, depth := range cacheDepths {
			n := runBytes(c, bytesMain, depth)
			out = append(out, fitsRow{gb, depth, n, n <= metal.DefaultLimit(gb), n <= metal.RaisedLimit(gb)})
		}
	}
	return out
}

func printPlan(w io.Writer, m *model, plans []planRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "variant\tbytes\tsize\tGiB\twith MTP\tbits/weight\tread a token\tto the first\t")
	for _, p := range plans {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%.3f\t%s\t%s\t\n", p.Name, p.BytesMain, size(p.BytesMain), gibibytes(p.BytesMain),
			size(p.BytesTotal), p.BitsPerWeight, size(p.BytesPerToken), difference(p.BytesMain-plans[0].BytesMain))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nTensor bytes of the main model; headers, tokenizer and config are not counted. \"read a token\":"+
		"\nweights that one decoded token reads, without the cache.")
	if err := printUpstream(w, m); err != nil {
		return err
	}
	if err := printKnobs(w, m); err != nil {
		return err
	}
	return printFits(w, m, plans)
}

// printUpstream notes what the checkpoint itself takes.
func printUpstream(w io.Writer, m *model) error {
	main, total := dsv4.StoredBytes(m.params)
	_, err := fmt.Fprintf(w, "The upstream checkpoint stores %d bytes (%s, %s); with MTP %d (%s, %s).\n",
		main, size(main), gibibytes(main), total, size(total), gibibytes(total))
	return err
}

func difference(n int64) string {
	switch {
	case n == 0:
		return "0"
	case n < 0:
		return "-" + size(-n)
	}
	return "+" + size(n)
}

// printKnobs says what each choice saves by itself, from g32-n8-e4.
func printKnobs(w io.Writer, m *model) error {
	const base = "g32-n8-e4"
	names := []string{base, "g64-n8-e4", "g128-n8-e4", "g32-n6-e4", "g32-n4-e4", "g32-n8-e3"}
	plans, err := plansOf(m, strings.Join(names, ","))
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\nWhat each choice saves, from %s:\n", base)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, what := range []string{"group size 32 to 64", "group size 32 to 128", "non-experts 8 to 6 bits", "non-experts 8 to 4 bits", "experts 4 to 3 bits"} {
		p := plans[i+1]
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s less read a token\t\n", what, size(plans[0].BytesMain-p.BytesMain),
			gibibytes(plans[0].BytesMain-p.BytesMain), size(plans[0].BytesPerToken-p.BytesPerToken))
	}
	return t.Flush()
}

// printFits prints which Macs hold a variant at each depth.
func printFits(w io.Writer, m *model, plans []planRow) error {
	fmt.Fprintf(w, "\nWhat fits (weights + KV cache + scratch of %d tokens): yes = within the GPU's default limit,\n"+
		"raised = only with iogpu.wired_limit_mb raised, - = not; cache of 8k / 128k tokens.\n", planChunk)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "variant\t")
	for _, gb := range metal.MacGB {
		fmt.Fprintf(t, "%d GB\t", gb)
	}
	fmt.Fprintln(t)
	for _, p := range plans {
		fmt.Fprintf(t, "%s\t", p.Name)
		for _, gb := range metal.MacGB {
			var words []string
			for _, f := range p.Fits {
				if f.MacGB == gb {
					words = append(words, f.word())
				}
			}
			fmt.Fprintf(t, "%s\t", strings.Join(slices.Compact(words), " / "))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	gb := metal.MacGB[len(metal.MacGB)-1]
	_, err := fmt.Fprintf(w, "Limits are as reported, not measured here: by default %d%% of memory, raised all but %s.\n",
		100*metal.DefaultLimit(gb)/(int64(gb)<<30), gibibytes(metal.SystemReserve))
	return err
}

func (f fitsRow) word() string {
	switch {
	case f.Default:
		return "yes"
	case f.Raised:
		return "raised"
	}
	return "-"
}
