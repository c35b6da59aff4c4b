package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Contents is what a ledger holds, in the order of its lines.
type Contents struct {
	Run Run // the first record
	// Later is the same run again as other builds of assay took it up: equal
	// to Run in all but Made and Tool. What follows in the file is theirs.
	Later   []Run
	Scores  []Score
	Timings []Timing
	// Torn says that the file ends in the middle of a line: its writer was
	// killed, or is writing now. That line is not part of the contents.
	Torn bool

	scores  map[scoreKey]bool
	timings map[timingKey]bool
}

// scoreKey and timingKey name what a ledger holds once.
type (
	scoreKey struct {
		variant, text string
		window        int
	}
	timingKey struct {
		variant    string
		repetition int
	}
)

// Read returns the contents of the ledger at path, and leaves the file alone.
// It takes no lock: a ledger that grows meanwhile is read up to some record. It
// refuses a newer schema, a record that does not fit the run, and one that is
// there twice, by file and line.
func Read(path string) (*Contents, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	defer f.Close()
	c, _, err := parse(path, f)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, fmt.Errorf("results: %s: no run is recorded", path)
	}
	return c, nil
}

// parse returns the contents of a ledger and the bytes of its complete lines.
// The contents are nil where there is no complete line.
func parse(path string, r io.Reader) (c *Contents, size int64, err error) {
	br := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) == 0 {
				return c, size, nil
			}
			if c == nil && !mayStart(line) {
				return nil, 0, fmt.Errorf("results: %s:%d: not a ledger", path, n)
			}
			if c != nil {
				c.Torn = true
			}
			return c, size, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("results: %s: %w", path, err)
		}
		if c == nil {
			c, err = newContents(line)
		} else {
			err = c.addLine(line)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("results: %s:%d: %w", path, n, err)
		}
		size += int64(len(line))
	}
}

// runStart is how every ledger starts.
const runStart = `{"kind":"run","schema":`

// mayStart says whether a torn first line is a ledger's.
func mayStart(line []byte) bool {
	n := min(len(line), len(runStart))
	return string(line[:n]) == runStart[:n]
}

// newContents starts from a ledger's first line.
func newContents(line []byte) (*Contents, error) {
	kind, err := kindOf(line)
	if err != nil {
		return nil, err
	}
	if kind != "run" {
		return nil, fmt.Errorf("kind %q, want the run first", kind)
	}
	run, err := readRun(line)
	if err != nil {
		return nil, err
	}
	return &Contents{Run: run, scores: map[scoreKey]bool{}, timings: map[timingKey]bool{}}, nil
}

// kindOf returns the kind of a line's record.
func kindOf(line []byte) (string, error) {
	var envelope struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(line, &envelope); err != nil {
		return "", fmt.Errorf("not a record: %w", err)
	}
	return envelope.Kind, nil
}

// readRun decodes a run of any version that this code knows.
func readRun(line []byte) (Run, error) {
	var v struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return Run{}, fmt.Errorf("not a record: %w", err)
	}
	switch v.Schema {
	case 1, 2:
		var r struct {
			Kind string `json:"kind"`
			Run
		}
		if err := strict(line, &r); err != nil {
			return Run{}, err
		}
		return r.Run, r.Run.check()
	}
	return Run{}, fmt.Errorf("schema version %d, this assay reads versions 1 to %d", v.Schema, SchemaVersion)
}

// addLine adds a line after the first.
func (c *Contents) addLine(line []byte) error {
	kind, err := kindOf(line)
	if err != nil {
		return err
	}
	switch kind {
	case "run":
		run, err := readRun(line)
		if err != nil {
			return err
		}
		if diff := c.Run.differences(run); diff != "" {
			return fmt.Errorf("another run in the same ledger: %s", diff)
		}
		c.Later = append(c.Later, run)
		return nil
	case "score":
		var r scoreLine
		if err := strict(line, &r); err != nil {
			return err
		}
		return c.addScore(r.Score)
	case "timing":
		var r timingLine
		if err := strict(line, &r); err != nil {
			return err
		}
		return c.addTiming(r.Timing)
	}
	return fmt.Errorf(`kind %q, want "run", "score" or "timing"`, kind)
}

// strict decodes one line, and refuses fields that v does not have.
func strict(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("not a record: %w", err)
	}
	return nil // kindOf has seen that nothing follows the value
}

// addScore adds s, or refuses it.
func (c *Contents) addScore(s Score) error {
	if err := c.checkScore(s); err != nil {
		return err
	}
	c.scores[scoreKey{s.Variant, s.Text, s.Window}] = true
	c.Scores = append(c.Scores, s)
	return nil
}

// checkScore refuses a score that does not fit the run, or is there already.
func (c *Contents) checkScore(s Score) error {
	name := fmt.Sprintf("score of %s, window %d of %q", s.Variant, s.Window, s.Text)
	if _, ok := c.Run.Variant(s.Variant); !ok {
		return fmt.Errorf("%s: the run has no such variant", name)
	}
	count, ok := 0, false
	for _, t := range c.Run.Texts {
		if t.Name == s.Text {
			count, ok = t.Count, true
		}
	}
	if !ok {
		return fmt.Errorf("%s: the run has no such text", name)
	}
	if s.Window < 0 || s.Window >= count {
		return fmt.Errorf("%s: the run scores windows 0 to %d", name, count-1)
	}
	if s.Tokens < 1 || len(s.NLL) != s.Tokens || len(s.KL) != s.Tokens || len(s.Top1) != s.Tokens {
		return fmt.Errorf("%s: %d tokens with %d NLL, %d KL and %d top-1", name, s.Tokens, len(s.NLL), len(s.KL), len(s.Top1))
	}
	if c.scores[scoreKey{s.Variant, s.Text, s.Window}] {
		return fmt.Errorf("%s: recorded already", name)
	}
	return nil
}

// addTiming adds t, or refuses it.
func (c *Contents) addTiming(t Timing) error {
	if err := c.checkTiming(t); err != nil {
		return err
	}
	c.timings[timingKey{t.Variant, t.Repetition}] = true
	c.Timings = append(c.Timings, t)
	return nil
}

// checkTiming refuses a timing that does not fit the run, or is there already.
func (c *Contents) checkTiming(t Timing) error {
	name := fmt.Sprintf("timing of %s, repetition %d", t.Variant, t.Repetition)
	if _, ok := c.Run.Variant(t.Variant); !ok {
		return fmt.Errorf("%s: the run has no such variant", name)
	}
	s := c.Run.Speed
	if s == nil {
		return fmt.Errorf("%s: the run times nothing", name)
	}
	if n := s.Discarded + s.Repetitions; t.Repetition < 0 || t.Repetition >= n {
		return fmt.Errorf("%s: the run has repetitions 0 to %d", name, n-1)
	}
	if len(t.DecodeSeconds) != s.DecodeTokens {
		return fmt.Errorf("%s: %d decode times, want %d", name, len(t.DecodeSeconds), s.DecodeTokens)
	}
	for _, x := range append([]float64{t.PrefillSeconds}, t.DecodeSeconds...) {
		if !(x > 0) || math.IsInf(x, 0) {
			return fmt.Errorf("%s: a time of %g seconds", name, x)
		}
	}
	if c.timings[timingKey{t.Variant, t.Repetition}] {
		return fmt.Errorf("%s: recorded already", name)
	}
	return nil
}

// check refuses a run whose records could not be told apart or counted.
func (r Run) check() error {
	if len(r.Variants) == 0 || len(r.Texts) == 0 {
		return fmt.Errorf("run with %d variants and %d texts, want one of each at least", len(r.Variants), len(r.Texts))
	}
	if r.Variants[0].Name != r.Protocol.Reference {
		return fmt.Errorf("run whose first variant is %q, want the reference %q", r.Variants[0].Name, r.Protocol.Reference)
	}
	seen := map[string]bool{}
	for _, v := range r.Variants {
		if v.Name == "" || !utf8.ValidString(v.Name) || strings.ContainsFunc(v.Name, odd) || seen["v "+v.Name] {
			return fmt.Errorf("run with a variant named %q, want names without space or slash, each once", v.Name)
		}
		seen["v "+v.Name] = true
	}
	for _, t := range r.Texts {
		if t.Name == "" || !utf8.ValidString(t.Name) || seen["t "+t.Name] {
			return fmt.Errorf("run with a text named %q, want names in UTF-8, each once", t.Name)
		}
		if t.Count < 1 {
			return fmt.Errorf("run that scores %d windows of text %q", t.Count, t.Name)
		}
		seen["t "+t.Name] = true
	}
	if s := r.Speed; s != nil && (s.PrefillTokens < 1 || s.DecodeTokens < 1 || s.Repetitions < 1 || s.Discarded < 0) {
		return fmt.Errorf("run that times %d repetitions after %d, of %d tokens prefilled and %d decoded",
			s.Repetitions, s.Discarded, s.PrefillTokens, s.DecodeTokens)
	}
	return nil
}

// odd says whether r has no place in a variant's name, which a line of Go's
// benchmark format must hold.
func odd(r rune) bool { return r == '/' || unicode.IsSpace(r) || unicode.IsControl(r) }

// Variant returns the run's variant of that name.
func (r Run) Variant(name string) (Variant, bool) {
	for _, v := range r.Variants {
		if v.Name == name {
			return v, true
		}
	}
	return Variant{}, false
}
