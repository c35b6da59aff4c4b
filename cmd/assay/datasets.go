package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"assay/datasets"
)

func datasetsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "datasets",
		Args:  subcommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
		Short: "List, fetch and print the corpora",
		Long: `datasets knows corpora by name and digest. heldout is built in; others are
fetched once, checked, and kept in the user's cache folder.`,
		Example: `  assay datasets list
  assay datasets pull wikitext-2-raw
  assay datasets pull wikitext-2 --from test.txt
  assay datasets cat heldout prose > prose.txt`,
	}
	c.AddCommand(datasetsList(), datasetsPull(), datasetsCat())
	return c
}

func datasetsList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the corpora", Example: "  assay datasets list --json", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cache, err := datasets.NewCache("")
			if err != nil {
				return err
			}
			all, err := cache.List()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), all)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "name\tbytes\tat hand\tSHA-256\tdescription\t")
			for _, k := range all {
				fmt.Fprintf(t, "%s\t%d\t%v\t%.12s\t%s\t\n", k.Name, k.Bytes, k.BuiltIn || k.Cached, k.SHA256, k.Description)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func datasetsPull() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "pull NAME", Short: "Fetch a corpus into the cache and check it",
		Example: "  assay datasets pull wikitext-2-raw\n  assay datasets pull wikitext-2 --from test.txt",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("datasets pull takes one corpus name, got %d; see assay datasets list", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			cache, err := datasets.NewCache("")
			if err != nil {
				return err
			}
			last := time.Now()
			path, err := cache.Pull(c.Context(), args[0], from, func(done, total int64) {
				if time.Since(last) > time.Second {
					last = time.Now()
					c.PrintErrf("%s: %d of %d bytes\n", args[0], done, total)
				}
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), path)
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "", "take it from this file or mirror address")
	return c
}

func datasetsCat() *cobra.Command {
	return &cobra.Command{
		Use: "cat CORPUS [TEXT]", Short: "Print a corpus's text, byte for byte",
		Example: "  assay datasets cat heldout chinese > chinese.txt",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("datasets cat takes a corpus and, where it has several, a text; got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			texts, err := openTexts(nil, args[0])
			if err != nil {
				return err
			}
			var names []string
			for _, t := range texts {
				if len(texts) == 1 || len(args) == 2 && args[1] == t.Name {
					_, err := c.OutOrStdout().Write(t.Data)
					return err
				}
				names = append(names, t.Name)
			}
			return usage("%s has the texts %s: name one of them", args[0], strings.Join(names, ", "))
		},
	}
}
