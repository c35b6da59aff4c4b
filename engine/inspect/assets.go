package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
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
	eos       []eosClaim // by file
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
	for _, n := range tokenizers {
		if _, err := read(n); err == nil {
			a.tokenizer = true
		}
	}
	a.claim(configName, ids(config["eos_token_id"]))
	var generation map[string]json.RawMessage
	readObject(read, generationName, &generation)
	a.claim(generationName, ids(generation["eos_token_id"]))
	var t struct {
		EOS      json.RawMessage `json:"eos_token"`
		Template json.RawMessage `json:"chat_template"`
	}
	readObject(read, tokenizerConfig, &t)
	a.added = addedTokens(tokenizer)
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

// addedTokens reads added_tokens of tokenizer.json and skips the vocabulary,
// which is large.
func addedTokens(data []byte) []addedToken {
	d := jsontext.NewDecoder(bytes.NewBuffer(data))
	if d.PeekKind() != '{' {
		return nil
	}
	if _, err := d.ReadToken(); err != nil {
		return nil
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil
		}
		if name.String() != "added_tokens" {
			if d.SkipValue() != nil {
				return nil
			}
			continue
		}
		raw, err := d.ReadValue()
		var out []addedToken
		if err != nil || json.Unmarshal(raw, &out) != nil {
			return nil
		}
		return out
	}
	return nil
}

// checkAssets looks at the tokenizer, the tokens that end a sequence, and the
// chat template.
func (c *check) checkAssets() {
	a := readAssets(c.f.config, c.f.readPresent)
	var source assets
	if c.o.Source != nil {
		source = c.o.Source.assets
	}
	if !a.tokenizer {
		x := Finding{ID: "X07", Severity: Error, Found: "missing", Wanted: "tokenizer.json", Fix: "copy it from the source",
			Consequence: "mlx_lm.load fails after it has loaded the weights"}
		if c.o.Source != nil && !source.tokenizer {
			x.Severity, x.Fix = Note, "the source has none either"
		}
		c.add(x, tokenizerName)
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
