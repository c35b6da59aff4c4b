//go:build cgo

package token

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// encodings were made by Python's tokenizers 0.23.3 from refmodel/tokenizer.json:
//
//	Tokenizer.from_file(path).encode(text, add_special_tokens=False).ids
var encodings = []struct {
	text string
	ids  []ID
}{
	{"", []ID{}},
	{"a", []ID{67}},
	{"The kettle was still warm when Ada came in.", []ID{445, 498, 4376, 277, 359, 1229, 5446, 587, 386, 2989, 1100, 294, 16}},
	{"量化之后，权重只剩四位。", []ID{1999, 3060, 3092, 2314, 570, 5923, 4102, 3986, 2916, 105, 1554, 252, 5606, 662}},
	{"カタカナとひらがな", []ID{162, 227, 107, 162, 227, 126, 162, 227, 107, 162, 228, 235, 162, 226, 104, 162, 226, 113, 162, 227, 234, 162, 226, 237, 162, 226, 106}},
	{"1234567 tokens in 3.14 s", []ID{1098, 21, 5601, 24, 25, 289, 77, 697, 294, 223, 21, 16, 2337, 267}},
	{"for i := 0; i < n; i++ {\n\t\tsum += x[i]\n\t}\n", []ID{544, 1154, 1025, 31, 223, 18, 29, 1154, 447, 300, 29, 1154, 892, 1155, 200, 200, 4659, 1314, 31, 1334, 3958, 1085, 200, 776}},
	{"don't_stop!@#$%^&*()", []ID{70, 266, 576, 2615, 623, 3, 34, 5, 6, 7, 64, 8, 12, 575}},
	// Runs of white space, line ends of both kinds.
	{"   ", []ID{335}},
	{"\r\n\r\n", []ID{204, 201, 204, 201}},
	{"two  spaces,   three\t\ttabs \n\n\n end  ", []ID{86, 4074, 223, 826, 1867, 14, 265, 1576, 200, 200, 1405, 85, 731, 201, 934, 265}},
	// Special tokens by name, and two that only look like one.
	{"<｜begin▁of▁sentence｜>Hi<｜end▁of▁sentence｜>", []ID{0, 42, 75, 1}},
	{"<｜begin▁of▁sentence>", []ID{30, 174, 124, 253, 1661, 161, 247, 226, 1276, 161, 247, 226, 85, 314, 756, 32}},
	{"<|begin_of_sentence|>", []ID{30, 94, 1661, 65, 1276, 765, 314, 756, 94, 32}},
	// A combining accent stays apart, a replacement character is a character,
	// a byte order mark is text.
	{"naïve cafe\u0301 — “quoted”…", []ID{80, 67, 130, 110, 329, 1694, 1639, 139, 226, 223, 1020, 223, 2869, 403, 5370, 2875, 690, 102}},
	{"👩‍🔬🧪", []ID{175, 256, 242, 105, 690, 238, 175, 256, 245, 108, 175, 256, 103, 106}},
	{"\ufeffBOM \u00a0nbsp\u200b", []ID{2673, 36, 49, 47, 223, 129, 257, 80, 68, 1253, 690, 236}},
	{"Ünïcödé\ufffd", []ID{130, 253, 80, 130, 110, 69, 130, 117, 70, 4999, 174, 126, 124}},
	{"\u0001\u007f", []ID{192, 224}},
}

func reference(t testing.TB) *Tokenizer {
	t.Helper()
	file, err := os.ReadFile("../../refmodel/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tk, err := New(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tk.Close() })
	return tk
}

func TestEncodeEqualsPython(t *testing.T) {
	tk := reference(t)
	for _, e := range encodings {
		ids, err := tk.Encode(e.text)
		if err != nil || !slices.Equal(ids, e.ids) {
			t.Errorf("Encode(%q) = %v, %v, want %v", e.text, ids, err, e.ids)
		}
	}
	if got := tk.VocabSize(); got != 6144 { // get_vocab_size()
		t.Errorf("VocabSize() = %d, want 6144", got)
	}
}

func TestDecodeIsInverse(t *testing.T) {
	tk := reference(t)
	for _, e := range encodings {
		if text, err := tk.Decode(e.ids); err != nil || text != e.text {
			t.Errorf("Decode(%v) = %q, %v, want %q", e.ids, text, err, e.text)
		}
	}
	// Half of a character, as where a window ends inside one.
	if text, err := tk.Decode([]ID{67, 162, 227}); err != nil || text != "a\ufffd" {
		t.Errorf(`Decode(half) = %q, %v, want "a\ufffd"`, text, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tk := reference(t)
	for _, c := range []struct{ text, want string }{
		{"ab\x00cd", "token: text has a NUL at byte 2, which the tokenizer cannot encode"},
		{"\x00", "token: text has a NUL at byte 0, which the tokenizer cannot encode"},
		{"四\xff", "token: text is not UTF-8: byte 0xff at byte 3"},
		{"\ufffd\xe5\x9b", "token: text is not UTF-8: byte 0xe5 at byte 3"},
	} {
		if ids, err := tk.Encode(c.text); err == nil || err.Error() != c.want {
			t.Errorf("Encode(%q) = %v, %v, want error %q", c.text, ids, err, c.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	tk := reference(t)
	if text, err := tk.Decode([]ID{67, 6144}); err == nil || !strings.Contains(err.Error(), "id 6144 at index 1") {
		t.Errorf("Decode(unknown id) = %q, %v", text, err)
	}
	// 191 is the byte 0 of the byte-level alphabet, U+0100 in the file.
	if text, err := tk.Decode([]ID{67, 191}); err == nil {
		t.Errorf("Decode(a NUL) = %q, want an error", text)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct{ name, json, want string }{
		{"empty", ``, "unexpected end of JSON input"},
		{"no vocabulary", `{}`, "no vocabulary"},
		{"unknown model", `{"version":"1.0","added_tokens":[],"model":{"type":"Magic","vocab":{"a":0},"merges":[]}}`, "untagged enum ModelUntagged"},
		{"truncation", `{"truncation":{"max_length":8},"model":{"vocab":{"a":0}}}`, "sets truncation"},
		{"padding", `{"padding":{},"model":{"vocab":{"a":0}}}`, "sets padding"},
		{"huge id", `{"model":{"vocab":{"a":4294967295}}}`, "id 4294967295, want less than"},
		// The library ends the process over this one.
		{"NUL", `{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[["a\u0000","b"]]}}`, "NUL at byte 68"},
	} {
		if _, err := New([]byte(c.json)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: New: %v, want %q in it", c.name, err, c.want)
		}
	}
}

func TestEscapedNUL(t *testing.T) {
	for text, want := range map[string]int{``: -1, `\u0000`: 0, `"\\u0000"`: -1, `\\\u0000`: 2, `\\u0000 \u0000`: 8} {
		if got := escapedNUL([]byte(text)); got != want {
			t.Errorf("escapedNUL(%s) = %d, want %d", text, got, want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	tk := reference(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				for _, e := range encodings {
					if ids, err := tk.Encode(e.text); err != nil || !slices.Equal(ids, e.ids) {
						t.Errorf("Encode(%q) = %v, %v, want %v", e.text, ids, err, e.ids)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestClosed(t *testing.T) {
	tk := reference(t)
	for range 2 {
		if err := tk.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tk.Encode("a"); err != errClosed {
		t.Errorf("Encode after Close: %v", err)
	}
	if _, err := tk.Decode([]ID{67}); err != errClosed {
		t.Errorf("Decode after Close: %v", err)
	}
}

// Every text that is not refused comes back as it was.
func FuzzRoundTrip(f *testing.F) {
	for _, e := range encodings {
		f.Add(e.text)
	}
	f.Add("a\x00b")
	f.Add("\xc3")
	tk := reference(f)
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := tk.Encode(text)
		if err != nil {
			if !strings.Contains(text, "\x00") && strings.ToValidUTF8(text, "") == text {
				t.Fatalf("Encode(%q): %v", text, err)
			}
			return
		}
		for _, id := range ids {
			if int(id) >= tk.VocabSize() {
				t.Fatalf("Encode(%q): id %d of %d", text, id, tk.VocabSize())
			}
		}
		if back, err := tk.Decode(ids); err != nil || back != text {
			t.Fatalf("Decode(Encode(%q)) = %q, %v", text, back, err)
		}
	})
}
