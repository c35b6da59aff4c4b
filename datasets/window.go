package datasets

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"assay/engine/token"
)

// Protocol is how the tokens of a text become windows. With W = Window and
// token 0 the first of the text:
//
//	windows           floor((tokens − 1) / W), at most Windows
//	window i feeds    tokens W·i .. W·i + W−1, from position 0
//	its targets       tokens W·i + 1 .. W·i + W, the last of which is the next
//	                  window's first token
//	it scores         all targets but the first ScoreFrom
//	with LlamaCPP     targets W·i + W/2+1 .. W·i + W−1 alone: W − 1 − W/2 of them
//	with BOS          id 0 is fed before token W·i, as a position of its own whose
//	                  target (token W·i) is not scored: the same targets score
//
// LlamaCPP scores what llama.cpp scores of a window (ggml-org/llama.cpp
// tools/perplexity/perplexity.cpp, perplexity), but the windows stay assay's:
// llama-perplexity makes floor(tokens / W), so where tokens is a multiple of W it
// has one more. BOS is not its: that puts the id in front of the whole text and,
// in every window, in place of the first token.
type Protocol struct {
	Window    int  // tokens of the text fed at once, W
	Windows   int  // at most this many of each text; 0 is all
	ScoreFrom int  // targets left out at each window's start, less than Window
	BOS       bool // feed id 0 before each window
	LlamaCPP  bool // score the second half of each window; ScoreFrom must be 0
}

// bos is the id that Protocol.BOS feeds before each window.
const bos token.ID = 0

// Window is what a model is fed at once, from an empty cache, and which of the
// tokens that follow are scored.
type Window struct {
	Text  string // the text it was cut from
	Index int    // of the window in its text, from 0
	// Tokens are the fed tokens: W, or W + 1 with the id 0 in front. Position p
	// of the model's pass is Tokens[p].
	Tokens []token.ID
	// Targets has one entry a fed token: Targets[p] is the token that follows
	// Tokens[p] in the text.
	Targets []token.ID
	// Positions From ≤ p < To are scored: the distribution after Tokens[p], at
	// the target Targets[p]. There is at least one.
	From, To int
}

// Scored returns the targets that count, those of positions From to To, in
// order. They share memory with Targets.
func (w Window) Scored() []token.ID { return w.Targets[w.From:w.To] }

// Check errs on a protocol that says nothing, or two things at once.
func (p Protocol) Check() error {
	switch {
	case p.Window < 1:
		return fmt.Errorf("datasets: window of %d tokens, want at least 1", p.Window)
	case p.Windows < 0:
		return fmt.Errorf("datasets: %d windows of each text, want 0 (all) or more", p.Windows)
	case p.ScoreFrom < 0:
		return fmt.Errorf("datasets: score-from %d, want 0 or more", p.ScoreFrom)
	case p.LlamaCPP && p.ScoreFrom > 0:
		return fmt.Errorf("datasets: score-from %d together with protocol llama.cpp, which says itself what is scored", p.ScoreFrom)
	case p.LlamaCPP && p.Window < 3:
		return fmt.Errorf("datasets: protocol llama.cpp scores nothing of a window of %d tokens, want at least 3", p.Window)
	case p.ScoreFrom >= p.Window:
		return fmt.Errorf("datasets: score-from %d leaves no target of a window of %d tokens", p.ScoreFrom, p.Window)
	}
	return nil
}

// scored returns the scored positions of a window as [from, to).
func (p Protocol) scored() (from, to int) {
	from, to = p.ScoreFrom, p.Window
	if p.LlamaCPP {
		// Position q predicts token q + 1 of the window.
		from, to = p.Window/2, p.Window-1
	}
	if p.BOS {
		from, to = from+1, to+1
	}
	return from, to
}

// Cut cuts the tokens of one text, named text, into windows. Without BOS they
// share the memory of ids, which must not change while they are used. Unused is
// the number of tokens at the end that no window feeds or has as a target,
// those that p.Windows leaves out included. Tokens too few for one window are an
// error, as is what Check refuses.
func Cut(text string, ids []token.ID, p Protocol) (windows []Window, unused int, err error) {
	if err := p.Check(); err != nil {
		return nil, 0, err
	}
	n := max(len(ids)-1, 0) / p.Window
	if n == 0 {
		return nil, 0, fmt.Errorf("datasets: %s: %d tokens, want at least %d for one window of %d and the token after it",
			text, len(ids), uint64(p.Window)+1, p.Window)
	}
	if p.Windows > 0 {
		n = min(n, p.Windows)
	}
	from, to := p.scored()
	windows = make([]Window, n)
	for i := range windows {
		first, after := p.Window*i, p.Window*(i+1)
		w := Window{Text: text, Index: i, From: from, To: to}
		w.Tokens = slices.Clip(ids[first:after])
		w.Targets = slices.Clip(ids[first+1 : after+1])
		if p.BOS {
			w.Targets = slices.Clip(ids[first : after+1])
			w.Tokens = append([]token.ID{bos}, w.Tokens...)
		}
		windows[i] = w
	}
	return windows, len(ids) - (p.Window*n + 1), nil
}

// Digest returns the SHA-256, in lower-case hex, of what p makes of each window
// and of all its ids, over these bytes: the line
//
//	assay windows 1: window <W> score-from <K> bos <true|false> llama.cpp <true|false>
//
// with a newline, then of each window, as little-endian uint32: Index, From, To,
// the number of fed tokens, Tokens, Targets. The names of texts and p.Windows
// are left out, since the same windows under another name, or chosen by another
// limit, are the same. It errs if there are no windows or one is not of p.
func Digest(p Protocol, windows []Window) (string, error) {
	if err := p.Check(); err != nil {
		return "", err
	}
	if len(windows) == 0 {
		return "", errors.New("datasets: no windows, so no digest")
	}
	from, to := p.scored()
	fed := p.Window
	if p.BOS {
		fed++
	}
	h := sha256.New()
	fmt.Fprintf(h, "assay windows 1: window %d score-from %d bos %t llama.cpp %t\n",
		p.Window, p.ScoreFrom, p.BOS, p.LlamaCPP)
	var buf []byte
	for _, w := range windows {
		if len(w.Tokens) != fed || len(w.Targets) != fed || w.From != from || w.To != to {
			return "", fmt.Errorf("datasets: %s: window %d has %d tokens and %d targets, scored from %d to %d, want %d, %d, %d and %d",
				w.Text, w.Index, len(w.Tokens), len(w.Targets), w.From, w.To, fed, fed, from, to)
		}
		buf = buf[:0]
		for _, v := range []int{w.Index, w.From, w.To, fed} {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(v))
		}
		for _, ids := range [][]token.ID{w.Tokens, w.Targets} {
			for _, id := range ids {
				buf = binary.LittleEndian.AppendUint32(buf, uint32(id))
			}
		}
		h.Write(buf)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
