// Package datasets holds the corpora that variants are scored on, each pinned
// by a SHA-256 digest, and cuts them into windows of tokens. It leaves the
// making of tokens to engine/token, and what a model says of a window to eval.
package datasets

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// Text is one text of a corpus. Windows never cross from one text to another.
type Text struct {
	Name   string // stratum, corpus, or the file's base name
	Corpus string // "heldout", "wikitext-2", "wikitext-2-raw", or "file"
	Digest string // SHA-256 of Data, in lower-case hex
	Data   []byte // UTF-8 without NUL, as stored; read only
}

// FileCorpus is the Corpus of a text that ReadFile read.
const FileCorpus = "file"

// maxText bounds what is read into memory as one text, in bytes.
const maxText = 1 << 30

// NewText returns the text of data and keeps data, which must not change
// afterwards. Data that is not UTF-8, or that has a NUL, is refused with the
// offset of the byte in question, from 0.
func NewText(corpus, name string, data []byte) (Text, error) {
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return Text{}, fmt.Errorf("datasets: %s: a NUL at byte %d, which is no text", name, at)
	}
	if at := invalidUTF8(data); at >= 0 {
		return Text{}, fmt.Errorf("datasets: %s: not UTF-8: byte %#02x at byte %d", name, data[at], at)
	}
	return Text{Name: name, Corpus: corpus, Digest: digest(data), Data: data}, nil
}

// ReadFile returns the text of the file at path, whose bytes stay as they are:
// no line end is converted and no byte order mark is dropped. What NewText
// refuses it refuses too, and a file of more than 1 GiB.
func ReadFile(path string) (Text, error) {
	data, err := readLimited(path, maxText)
	if err != nil {
		return Text{}, err
	}
	return NewText(FileCorpus, filepath.Base(path), data)
}

// Distinct errs if two of texts share their name or their bytes: scores are
// kept by name and window, and a text that counts twice would narrow every
// interval for nothing.
func Distinct(texts []Text) error {
	names, digests := map[string]bool{}, map[string]string{}
	for _, t := range texts {
		if names[t.Name] {
			return fmt.Errorf("datasets: two texts are named %q: rename one of them", t.Name)
		}
		if other, ok := digests[t.Digest]; ok {
			return fmt.Errorf("datasets: %s and %s are the same text", other, t.Name)
		}
		names[t.Name], digests[t.Digest] = true, t.Name
	}
	return nil
}

// readLimited returns the bytes of the file at path, of which there may be limit.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("datasets: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > limit {
		return nil, fmt.Errorf("datasets: %s: %d bytes, want at most %d", path, info.Size(), limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("datasets: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("datasets: %s: more than %d bytes", path, limit)
	}
	return data, nil
}

// invalidUTF8 returns the offset of the first byte that no UTF-8 text has
// there, or -1.
func invalidUTF8(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

// digest returns the SHA-256 of data in lower-case hex.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
