package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Tokenizer encodes and decodes by the rules of one tokenizer.json, with the
// code of Hugging Face's tokenizers. Any number of goroutines may use it.
type Tokenizer struct {
	mu    sync.RWMutex // written by Close alone: the library's own Close has no lock
	lib   *library     // nil once closed
	known []bool       // by ID; the library skips an id that it does not know
}

var errClosed = errors.New("token: tokenizer is closed")

// New returns the tokenizer that the bytes of a tokenizer.json describe, and
// keeps none of them. It refuses one that would cut or pad text. The caller
// closes it.
func New(tokenizerJSON []byte) (*Tokenizer, error) {
	known, err := parseVocabulary(tokenizerJSON)
	if err != nil {
		return nil, err
	}
	lib, err := openLibrary(tokenizerJSON)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return &Tokenizer{lib: lib, known: known}, nil
}

// parseVocabulary returns which ids a tokenizer.json gives to a token, and errs
// on what would make its ids something else than those of the whole text.
func parseVocabulary(tokenizerJSON []byte) ([]bool, error) {
	if i := escapedNUL(tokenizerJSON); i >= 0 {
		return nil, fmt.Errorf("token: tokenizer.json: a string with a NUL at byte %d", i)
	}
	var file struct {
		Truncation, Padding any
		AddedTokens         []struct{ ID ID } `json:"added_tokens"`
		Model               struct{ Vocab map[string]ID }
	}
	if err := json.Unmarshal(tokenizerJSON, &file); err != nil {
		return nil, fmt.Errorf("token: tokenizer.json: %w", err)
	}
	if file.Truncation != nil {
		return nil, errors.New("token: tokenizer.json sets truncation, which would cut text")
	}
	if file.Padding != nil {
		return nil, errors.New("token: tokenizer.json sets padding, which would add tokens")
	}
	ids := slices.Collect(maps.Values(file.Model.Vocab))
	for _, t := range file.AddedTokens {
		ids = append(ids, t.ID)
	}
	if len(ids) == 0 {
		return nil, errors.New("token: tokenizer.json has no vocabulary")
	}
	top := slices.Max(ids)
	if top >= maxVocab {
		return nil, fmt.Errorf("token: tokenizer.json: id %d, want less than %d", top, maxVocab)
	}
	known := make([]bool, top+1)
	for _, id := range ids {
		known[id] = true
	}
	return known, nil
}

// escapedNUL returns the offset of the first \u0000 in JSON text, or -1. A name
// with a NUL in the library's message about a bad file would end the process.
func escapedNUL(text []byte) int {
	escape := []byte(`\u0000`)
	for from := 0; ; {
		i := bytes.Index(text[from:], escape)
		if i < 0 {
			return -1
		}
		i += from
		slashes := i - len(bytes.TrimRight(text[:i], `\`))
		if slashes%2 == 0 { // else it is an escaped backslash, then u0000
			return i
		}
		from = i + len(escape)
	}
}

// maxVocab bounds ids, so that a damaged file cannot ask for gigabytes.
const maxVocab = 1 << 24

// Encode returns the ids of text, as Python's tokenizers does with
// add_special_tokens=False: nothing is put around them, and the name of a
// special token written in text becomes that token. Empty text has no ids. It
// errs on text that the library would change silently: it cuts at a NUL byte
// and replaces what is not UTF-8.
func (t *Tokenizer) Encode(text string) ([]ID, error) {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, fmt.Errorf("token: text has a NUL at byte %d, which the tokenizer cannot encode", i)
	}
	if i := invalidUTF8(text); i >= 0 {
		return nil, fmt.Errorf("token: text is not UTF-8: byte %#02x at byte %d", text[i], i)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.lib == nil {
		return nil, errClosed
	}
	if text == "" {
		return []ID{}, nil
	}
	raw := t.lib.encode(text)
	if len(raw) == 0 { // how the library reports any failure
		return nil, fmt.Errorf("token: the tokenizer gave no ids for %d bytes of text", len(text))
	}
	ids := make([]ID, len(raw))
	for i, id := range raw {
		ids[i] = ID(id)
	}
	return ids, nil
}

// invalidUTF8 returns the offset of the first byte of text that is not part of
// a UTF-8 character, or -1.
func invalidUTF8(text string) int {
	if utf8.ValidString(text) {
		return -1
	}
	for i, r := range text {
		if r != utf8.RuneError {
			continue
		}
		if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
			return i
		}
	}
	return -1
}

// Decode returns the text of ids. Special tokens appear by name, so Decode is
// the inverse of Encode wherever the tokenizer's normalizer changes nothing;
// bytes that are not UTF-8, as of half a character, become U+FFFD. It errs on
// an id outside the vocabulary, and on text with a NUL.
func (t *Tokenizer) Decode(ids []ID) (string, error) {
	raw := make([]uint32, len(ids))
	for i, id := range ids {
		if int(id) >= len(t.known) || !t.known[id] {
			return "", fmt.Errorf("token: id %d at index %d is not in the vocabulary of %d", id, i, len(t.known))
		}
		raw[i] = uint32(id)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.lib == nil {
		return "", errClosed
	}
	if len(ids) == 0 {
		return "", nil
	}
	text := t.lib.decode(raw)
	if text == "" { // how the library reports any failure
		return "", fmt.Errorf("token: the tokenizer gave no text for %d ids: does it hold a NUL?", len(ids))
	}
	return text, nil
}

// VocabSize returns one more than the largest id of a token, special tokens
// counted. Every id from Encode is below it.
func (t *Tokenizer) VocabSize() int { return len(t.known) }

// Close frees the tokenizer's memory, once what is under way has ended. A
// second Close does nothing.
func (t *Tokenizer) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lib == nil {
		return nil
	}
	lib := t.lib
	t.lib = nil
	return lib.close()
}
