package datasets

import (
	"fmt"
	"strings"
)

// Corpus is one of the corpora that assay knows by name. Its digests are pinned:
// bytes that differ from them are never scored under its name.
type Corpus struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	License     string `json:"license"`
	Bytes       int64  `json:"bytes"` // of all its texts
	// SHA256 is the digest of its one text; of several, the SHA-256 of what
	// sha256sum prints of them: a line "<digest>  <name>" for each.
	SHA256  string `json:"sha256"`
	URL     string `json:"url,omitempty"` // where Pull finds it; "" is nowhere
	BuiltIn bool   `json:"built_in"`      // carried in the binary: nothing to pull
	Cached  bool   `json:"cached"`        // the cache holds it, as its digest says

	file    string   // name of its text in the cache
	archive *archive // what URL has, where that is not the text itself
}

// archive is a zip file with a corpus in it.
type archive struct {
	bytes  int64
	sha256 string
	member string // base name of the text's entry
}

// known is every corpus but the built-in one.
//
// Figures of wikitext-2-raw: the archive's and the member's as published with
// ggml-org/ci at the commit in the URL.
var known = []Corpus{
	{
		Name:        "wikitext-2",
		Description: "WikiText-2 test split, the release with <unk> for rare words",
		License:     "CC BY-SA 3.0 and GFDL (text of Wikipedia)",
		Bytes:       1_256_449,
		SHA256:      "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
		file:        "test.txt",
	},
	{
		Name:        "wikitext-2-raw",
		Description: "WikiText-2 test split, the raw release that llama.cpp users score",
		License:     "CC BY-SA 3.0 and GFDL (text of Wikipedia)",
		Bytes:       1_290_590,
		SHA256:      "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
		URL:         "https://huggingface.co/datasets/ggml-org/ci/resolve/927b3642933080f1b0e811e2f916e14c292992f9/wikitext-2-raw-v1.zip",
		file:        "wiki.test.raw",
		archive: &archive{
			bytes:  4_721_645,
			sha256: "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
			member: "wiki.test.raw",
		},
	},
}

// builtIn returns the corpus that assay carries.
func builtIn() (Corpus, error) {
	texts, err := Heldout()
	if err != nil {
		return Corpus{}, err
	}
	c := Corpus{
		Name:        HeldoutCorpus,
		Description: "written for assay: " + strings.Join(strata[:], ", "),
		License:     "MIT (part of assay)",
		SHA256:      digestOf(texts),
		BuiltIn:     true,
	}
	for _, t := range texts {
		c.Bytes += int64(len(t.Data))
	}
	return c, nil
}

// remote returns what the address url has of the corpus: its archive, or its
// text where there is none.
func (c Corpus) remote(url string) remote {
	if c.archive != nil {
		return remote{url: url, bytes: c.archive.bytes, sha256: c.archive.sha256}
	}
	return remote{url: url, bytes: c.Bytes, sha256: c.SHA256}
}

// remoteFile returns the name that the cache gives to what remote describes.
func (c Corpus) remoteFile() string {
	if c.archive != nil {
		return c.Name + ".zip"
	}
	return c.file
}

// identify says what of known bytes with the digest sum are, or "".
func identify(corpora []Corpus, sum string) string {
	for _, c := range corpora {
		if sum == c.SHA256 {
			return c.Name
		}
		if c.archive != nil && sum == c.archive.sha256 {
			return "the archive of " + c.Name
		}
	}
	return ""
}

// refuse returns the error for bytes, found at where, that are not want. If they
// are another corpus it says which.
func refuse(corpora []Corpus, where string, bytes int64, sum string, want Corpus) error {
	if other := identify(corpora, sum); other != "" {
		return fmt.Errorf("datasets: %s is %s, not %s", where, other, want.Name)
	}
	return fmt.Errorf("datasets: %s is not %s: %d bytes with SHA-256 %s, want %d with %s",
		where, want.Name, bytes, sum, want.Bytes, want.SHA256)
}
