package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"assay/engine/checkpoint"
)

// Files beside the weights.
const (
	generationName  = "generation_config.json"
	tokenizerName   = "tokenizer.json"
	tokenizerConfig = "tokenizer_config.json"
	templateName    = "chat_template.jinja"
)

// tokenizers are the other files that may stand for tokenizer.json.
var tokenizers = []string{"tokenizer.model", "tiktoken.model"}

// assets is what the files beside the weights say of tokens.
type assets struct {
	tokenizer bool
	fault     string     // of tokenizer.json, which is there
	eos       []eosClaim // by file
	odd       []string   // ids that are no numbers: the file and what it says
	added     []addedToken
	template  string
}

// eosClaim is what one file says ends a sequence.
type eosClaim struct {
	file string
	ids  []int64
}

type addedToken struct {
	ID      int64  `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// readAssets reads them. read returns a file, and errs where it is not there.
func readAssets(config map[string]json.RawMessage, read func(name string) ([]byte, error)) assets {
	var a assets
	tokenizer, err := read(tokenizerName)
	a.tokenizer = err == nil
	switch {
	case err == nil:
		a.added, err = parseTokenizer(tokenizer)
		if err != nil {
			a.fault = err.Error()
		}
	case !errors.Is(err, fs.ErrNotExist):
		a.fault = err.Error()
	}
	for _, n := range tokenizers {
		if _, err := read(n); err == nil {
			a.tokenizer = true
		}
	}
	a.claimIDs(configName, config["eos_token_id"])
	var generation map[string]json.RawMessage
	readObject(read, generationName, &generation)
	a.claimIDs(generationName, generation["eos_token_id"])
	var t struct {
		EOS      json.RawMessage `json:"eos_token"`
		Template json.RawMessage `json:"chat_template"`
	}
	readObject(read, tokenizerConfig, &t)
	if text := tokenText(t.EOS); text != "" {
		for _, token := range a.added {
			if token.Content == text {
				a.claim(tokenizerConfig, []int64{token.ID})
			}
		}
	}
	if data, err := read(templateName); err == nil {
		a.template = string(data)
	} else if len(t.Template) > 0 && string(t.Template) != "null" {
		a.template = string(t.Template)
		var text string
		if json.Unmarshal(t.Template, &text) == nil {
			a.template = text
		}
	}
	return a
}

func (a *assets) claim(file string, ids []int64) {
	if len(ids) > 0 {
		a.eos = append(a.eos, eosClaim{file, ids})
	}
}

// claimIDs takes a file's ids in, or that they are none.
func (a *assets) claimIDs(file string, raw json.RawMessage) {
	list := ids(raw)
	a.claim(file, list)
	if list == nil && len(raw) > 0 && string(raw) != "null" && string(raw) != "[]" {
		a.odd = append(a.odd, file, clip(string(raw)))
	}
}

// ids reads a number or an array of them.
func ids(raw json.RawMessage) []int64 {
	var one int64
	if json.Unmarshal(raw, &one) == nil && string(raw) != "null" {
		return []int64{one}
	}
	var many []int64
	if json.Unmarshal(raw, &many) != nil {
		return nil
	}
	slices.Sort(many)
	return slices.Compact(many)
}

// tokenText reads a token, which is text or an object with content.
func tokenText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var object struct {
		Content string `json:"content"`
	}
	_ = json.Unmarshal(raw, &object) // of another form: none
	return object.Content
}

// parseTokenizer reads added_tokens of tokenizer.json and skips the vocabulary,
// which is large. It errs on what no tokenizer can be read from.
func parseTokenizer(data []byte) ([]addedToken, error) {
	if checkpoint.IsPointer(data) {
		return nil, checkpoint.ErrPointer
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var out []addedToken
	model := false
	err := members(d, func(name string) error {
		switch name {
		case "added_tokens":
			raw, err := d.ReadValue()
			if err == nil && json.Unmarshal(raw, &out) != nil {
				return errors.New("added_tokens is no list of tokens")
			}
			return err
		case "model":
			model = d.PeekKind() == '{'
		}
		return d.SkipValue()
	})
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return out, fmt.Errorf("%d bytes of JSON that ends early", len(data))
	case err != nil:
		return out, err
	case !model:
		return out, errors.New(`no "model" in it`)
	}
	return out, nil
}

// members calls read at each value of an object, which it has to pass.
func members(d *jsontext.Decoder, read func(name string) error) error {
	if k := d.PeekKind(); k != '{' && k != 0 {
		return errors.New("no JSON object")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := read(name.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// checkAssets looks at the tokenizer, the tokens that end a sequence, and the
// chat template.
func (c *check) checkAssets() {
	a := readAssets(c.f.config, c.f.readPresent)
	var source assets
	if c.o.Source != nil {
		source = c.o.Source.assets
	}
	if !a.tokenizer || a.fault != "" {
		x := Finding{ID: "X07", Severity: Error, Found: either(a.fault, "missing"), Wanted: "tokenizer.json", Fix: "copy it from the source",
			Consequence: "mlx_lm.load fails after it has loaded the weights"}
		switch {
		case c.o.Source != nil && !source.tokenizer && a.fault == "":
			x.Severity, x.Fix = Note, "the source has none either"
			x.Consequence = "the weights load, but text needs a tokenizer from elsewhere"
		case c.upstream:
			x.Severity, x.Consequence = Warning, "bundles made of the checkpoint lack it too"
		}
		c.add(x, tokenizerName)
	}
	for i := 0; i < len(a.odd); i += 2 {
		c.add(Finding{ID: "X08", Severity: Warning, Found: "eos_token_id is " + a.odd[i+1], Wanted: "a number, or a list of them", Fix: "give all files the source's ids",
			Consequence: "no token has that for an id: the runtime runs on"}, a.odd[i])
	}
	c.checkEOS(a)
	if a.template == "" && c.o.Source != nil {
		x := Finding{ID: "X09", Severity: Note, Found: "none", Wanted: "none: the source has none either", Fix: "none needed",
			Consequence: "chat requests need a template from elsewhere"}
		if source.template != "" {
			x.Severity, x.Wanted, x.Fix = Warning, "the source's chat template", "copy it from the source"
			x.Consequence = "chat requests fail, or use a template that the model was not trained on"
		}
		c.add(x, templateName)
	}
}

// checkEOS holds what files say of the end of a sequence against each other. A
// superset is a convention of runtimes, which stop at role markers too; sets of
// which neither holds the other contradict.
func (c *check) checkEOS(a assets) {
	x := Finding{ID: "X08", Severity: Warning, Fix: "give all files the source's ids",
		Consequence: "the runtime stops at other tokens than the model writes: it runs on, or stops early"}
	for i, p := range a.eos {
		for _, q := range a.eos[i+1:] {
			if subset(p.ids, q.ids) || subset(q.ids, p.ids) {
				continue
			}
			x.Found = fmt.Sprintf("%s says %v, %s says %v", p.file, p.ids, q.file, q.ids)
			x.Wanted = "the same ids, or more of them"
			c.add(x, q.file)
		}
	}
	if a.template == "" || len(a.eos) == 0 {
		return
	}
	if end := a.templateEnd(); end != nil {
		x.Found = fmt.Sprintf("the chat template ends turns with %q, id %d, which no file names", clip(end.Content), end.ID)
		x.Wanted = fmt.Sprintf("a template that ends turns with %v", a.eos[0].ids)
		c.add(x, templateName)
	}
}

func subset(a, b []int64) bool {
	return !slices.ContainsFunc(a, func(id int64) bool { return !slices.Contains(b, id) })
}

// templateEnd returns a token by which the template seems to end turns that is
// none that ends a sequence, or nil: one called an end, in a template that has
// no end of a sequence.
func (a assets) templateEnd() *addedToken {
	if strings.Contains(a.template, "eos_token") {
		return nil
	}
	var end *addedToken
	for i, t := range a.added {
		if t.Content == "" || !strings.Contains(a.template, t.Content) {
			continue
		}
		for _, claim := range a.eos {
			if slices.Contains(claim.ids, t.ID) {
				return nil
			}
		}
		if name := strings.ToLower(t.Content); t.Special && !strings.Contains(name, "header") &&
			(strings.Contains(name, "end") || strings.Contains(name, "eot")) {
			end = &a.added[i]
		}
	}
	return end
}
