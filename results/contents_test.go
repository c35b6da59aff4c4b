package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A ledger of each version must be read by every later assay.
func TestReadVersions(t *testing.T) {
	for version, system := range map[int]string{1: "", 2: "made 1.0"} {
		c, err := Read(filepath.Join("testdata", fmt.Sprintf("v%d.jsonl", version)))
		if err != nil || c.Run.Schema != version || len(c.Scores) != 8 || len(c.Timings) != 6 || c.Run.Engine.System != system {
			t.Fatalf("%+v, %v", c, err)
		}
		if got := c.Scores[7]; !reflect.DeepEqual(got, madeScore("q4", "code", 1, 0.25)) {
			t.Errorf("%+v", got)
		}
	}
	golden, _ := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("v%d.jsonl", SchemaVersion)))
	if got := madeFile(t, func(l *Ledger) { sweep(t, l) }); !bytes.Equal(got, golden) {
		t.Errorf("version %d is written otherwise now; a change of the format takes a new version:\n%s", SchemaVersion, got)
	}
}

func TestReadRefuses(t *testing.T) {
	whole := string(madeFile(t, func(l *Ledger) { sweep(t, l) }))
	lines := strings.SplitAfter(whole, "\n")
	head := lines[0]
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	other := strings.Replace(head, `"window":512`, `"window":8`, 1)
	for text, want := range map[string]string{
		"":         ": no run is recorded",
		head[:40]:  ": no run is recorded",
		"\x7fELF ": ":1: not a ledger",
		lines[1]:   `:1: kind "score", want the run first`,
		strings.Replace(head, `"schema":2`, `"schema":3`, 1):            ":1: schema version 3, this assay reads versions 1 to 2",
		strings.Replace(head, `"schema":2`, `"schema":3,"new":3`, 1):    ":1: schema version 3, this assay reads versions 1 to 2",
		strings.Replace(head, `"schema":2,`, ``, 1):                     ":1: schema version 0, this assay reads versions 1 to 2",
		strings.Replace(head, `"schema":2`, `"schema":2,"new":3`, 1):    `:1: not a record: json: unknown field "new"`,
		head + lines[1] + lines[2] + lines[1]:                           `:4: score of bf16, window 0 of "prose": recorded already`,
		head + lines[9] + lines[9]:                                      ":3: timing of q4, repetition 0: recorded already",
		head + other:                                                    ":2: another run in the same ledger: protocol.window 512, want 8",
		head + "\n":                                                     ":2: not a record: unexpected end of JSON input",
		head + lines[1][:30] + lines[2]:                                 ":2: not a record: invalid character",
		head + "{}\n":                                                   `:2: kind "", want "run", "score" or "timing"`,
		head + strings.Replace(lines[1], "bf16", "q5", 1):               `:2: score of q5, window 0 of "prose": the run has no such variant`,
		head + strings.Replace(lines[1], `"tokens":2`, `"tokens":3`, 1): `:2: score of bf16, window 0 of "prose": 3 tokens with 2 NLL`,
		head + strings.Replace(lines[1], `"nll":"`, `"nll":"!`, 1):      ":2: not a record: results: floats: illegal base64",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.HasPrefix(err.Error(), "results: "+path+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Read(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// Whatever the bytes, reading returns; and what it takes, the same lines say.
func FuzzRead(f *testing.F) {
	whole := madeFile(f, func(l *Ledger) {
		for _, s := range steps() {
			if s.score != nil {
				l.AppendScore(*s.score)
			} else {
				l.AppendTiming(*s.timing)
			}
		}
	})
	f.Add(whole)
	f.Add(whole[:len(whole)-9])
	f.Add(bytes.Replace(whole, []byte(`"schema":2`), []byte(`"schema":9`), 1))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, size, err := parse("ledger.jsonl", bytes.NewReader(data))
		if err != nil || c == nil {
			return
		}
		if size > int64(len(data)) || size < 1 || data[size-1] != '\n' {
			t.Fatalf("%d bytes of %d are complete", size, len(data))
		}
		var again bytes.Buffer
		add := func(v any) {
			line, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			again.Write(append(line, '\n'))
		}
		add(runLine{"run", c.Run})
		for _, r := range c.Later {
			add(runLine{"run", r})
		}
		for _, s := range c.Scores {
			add(scoreLine{"score", s})
		}
		for _, x := range c.Timings {
			add(timingLine{"timing", x})
		}
		d, _, err := parse("again", bytes.NewReader(again.Bytes()))
		if err != nil || len(d.Scores) != len(c.Scores) || len(d.Timings) != len(c.Timings) || len(d.Later) != len(c.Later) {
			t.Fatalf("written again: %v", err)
		}
		if _, err := Table(c); err == nil {
			c.WriteBench(&again)
		}
	})
}
