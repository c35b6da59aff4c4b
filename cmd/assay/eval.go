package main

import (
	"strings"

	"github.com/spf13/cobra"

	"assay/engine/variant"
)

func evalCommand() *cobra.Command {
	o := &runOptions{}
	c := &cobra.Command{
		Use:   "eval [--text FILE]...",
		Short: "Score variants against bf16 on text",
		Long: `eval feeds each text in windows and prints, for each variant: NLL and perplexity,
their difference and ratio to bf16 paired by token, mean KL divergence over the
full vocabulary, and top-1 agreement, each with a 95 % interval over windows.

Window i feeds tokens W·i .. W·i+W−1 from position 0 and scores the tokens that
follow them. With --out the scores are kept in DIR/ledger.jsonl, and a stopped
run goes on there.`,
		Example: `  assay eval --text book.txt --variants g32-n8-e4,g64-n8-e4 --json
  assay eval --text wiki.test.raw --protocol llama.cpp --variants native
  assay eval --corpus heldout --windows 1 --out scores`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, rows, err := table(c, o)
			if err != nil {
				return err
			}
			defer s.close()
			return s.print(c.OutOrStdout(), rows)
		},
	}
	o.flags(c, strings.Join(append(variant.Grid(), variant.Native), ","))
	o.protocolFlags(c, 0)
	return c
}
