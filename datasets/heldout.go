package datasets

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
)

// HeldoutCorpus is the name of the corpus that assay carries.
const HeldoutCorpus = "heldout"

// strata are the texts of the held-out corpus, in the order they are scored.
var strata = [...]string{"prose", "technical", "chinese", "code"}

// Every piece in heldout/<stratum>/ was written for this project; see
// heldout/README.md.
//
//go:embed heldout/*/*.txt
var heldoutFiles embed.FS

// Heldout returns the text written for this project: one Text for each of the
// strata prose, technical, chinese and code, in that order. A stratum is its
// pieces in name order with one "\n" between them; a piece ends with a newline,
// so a blank line separates two. The caller owns the bytes. A piece that is not
// UTF-8 is an error.
func Heldout() ([]Text, error) {
	texts := make([]Text, len(strata))
	for i, stratum := range strata {
		pieces, err := heldoutPieces(stratum)
		if err != nil {
			return nil, err
		}
		data := make([][]byte, len(pieces))
		for j, p := range pieces {
			data[j] = p.data
		}
		if texts[i], err = NewText(HeldoutCorpus, stratum, bytes.Join(data, []byte("\n"))); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// piece is one file of a stratum.
type piece struct {
	name string
	data []byte
}

// heldoutPieces returns the pieces of a stratum in name order.
func heldoutPieces(stratum string) ([]piece, error) {
	entries, err := heldoutFiles.ReadDir("heldout/" + stratum)
	if err != nil {
		return nil, fmt.Errorf("datasets: %w", err)
	}
	pieces := make([]piece, len(entries))
	for i, e := range entries {
		data, err := heldoutFiles.ReadFile("heldout/" + stratum + "/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("datasets: %w", err)
		}
		pieces[i] = piece{name: e.Name(), data: data}
	}
	return pieces, nil
}

// digestOf returns the digest of a corpus of several texts: the SHA-256 of one
// line "<digest of the text>  <name>\n" for each, which is what sha256sum prints.
func digestOf(texts []Text) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%s  %s\n", t.Digest, t.Name)
	}
	return hex.EncodeToString(h.Sum(nil))
}
