package main

import (
	"fmt"

	"assay/datasets"
	"assay/engine/token"
	"assay/results"
)

// cut is texts as windows, with all that names them.
type cut struct {
	windows []datasets.Window
	texts   []results.Text
	digest  string     // of all windows
	first   []token.ID // tokens of the first text, for timing
}

// openTexts reads the files of --text, or a corpus by name.
func openTexts(files []string, corpus string) ([]datasets.Text, error) {
	if len(files) == 0 {
		if corpus == datasets.HeldoutCorpus {
			return datasets.Heldout()
		}
		cache, err := datasets.NewCache("")
		if err != nil {
			return nil, err
		}
		return cache.Texts(corpus)
	}
	var texts []datasets.Text
	for _, f := range files {
		t, err := datasets.ReadFile(f)
		if err != nil {
			return nil, err
		}
		texts = append(texts, t)
	}
	return texts, datasets.Distinct(texts)
}

// cutTexts encodes texts and cuts them into windows.
func cutTexts(m *model, texts []datasets.Text, p datasets.Protocol) (*cut, error) {
	tok, err := m.tokenizer()
	if err != nil {
		return nil, err
	}
	defer tok.Close()
	c := &cut{}
	for _, t := range texts {
		ids, err := tok.Encode(string(t.Data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		if c.first == nil {
			c.first = ids
		}
		windows, unused, err := datasets.Cut(t.Name, ids, p)
		if err != nil {
			return nil, err
		}
		digest, err := datasets.Digest(p, windows)
		if err != nil {
			return nil, err
		}
		c.windows = append(c.windows, windows...)
		c.texts = append(c.texts, results.Text{
			Name: t.Name, Corpus: t.Corpus, Digest: t.Digest, Windows: digest, Bytes: int64(len(t.Data)),
			Tokens: len(ids), Count: len(windows), Unused: unused,
		})
	}
	c.digest, err = datasets.Digest(p, c.windows)
	return c, err
}
