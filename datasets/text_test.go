package datasets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// A file's bytes are the text: nothing is converted, dropped or added.
func TestReadFileLeavesBytesAlone(t *testing.T) {
	for _, content := range []string{"", "\n", "a\r\nb\rc\n\n", "\ufeffmark", "no newline at the end", "汉字 \U0001F600\n", "\u2028\x7f\x01"} {
		path := filepath.Join(t.TempDir(), "some text.txt")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFile(path)
		if err != nil {
			t.Fatalf("%q: %v", content, err)
		}
		if string(got.Data) != content || got.Name != "some text.txt" || got.Corpus != "file" {
			t.Errorf("%q: got %q named %q of %q", content, got.Data, got.Name, got.Corpus)
		}
	}
}

// The digest is plain SHA-256 in hex: of "abc" that of FIPS 180-4's example.
func TestTextDigest(t *testing.T) {
	got, err := NewText(FileCorpus, "abc.txt", []byte("abc"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; got.Digest != want {
		t.Errorf("digest %s, want %s", got.Digest, want)
	}
}

func TestTextRefusals(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{"ab\x00c", "a NUL at byte 2"},
		{"\x00", "a NUL at byte 0"},
		{"caf\xe9 latin", "byte 0xe9 at byte 3"},
		{"汉字\xff", "byte 0xff at byte 6"},
		{"cut \xe6\xb1", "byte 0xe6 at byte 4"},
		{"surrogate \xed\xa0\x80", "byte 0xed at byte 10"},
		{"overlong \xc0\x80", "byte 0xc0 at byte 9"},
	} {
		_, err := NewText(FileCorpus, "f.txt", []byte(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "datasets: f.txt: ") {
			t.Errorf("%q: error %v, want one with %q", c.data, err, c.want)
		}
	}
	// U+FFFD itself is a letter like any other.
	if _, err := NewText(FileCorpus, "f.txt", []byte("a \ufffd b")); err != nil {
		t.Error(err)
	}
}

func TestReadFileErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadFile(filepath.Join(dir, "absent.txt")); err == nil || !strings.Contains(err.Error(), "absent.txt") {
		t.Errorf("absent file: %v", err)
	}
	if _, err := ReadFile(dir); err == nil {
		t.Error("a folder was read as a text")
	}
	big := filepath.Join(dir, "big.txt")
	if err := os.WriteFile(big, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxText+1); err != nil { // a hole: takes no disk
		t.Fatal(err)
	}
	if _, err := ReadFile(big); err == nil || !strings.Contains(err.Error(), "1073741825 bytes, want at most 1073741824") {
		t.Errorf("file over the limit: %v", err)
	}
	if _, err := readLimited("/dev/zero", 100); err == nil || !strings.Contains(err.Error(), "more than 100 bytes") {
		t.Errorf("endless file: %v", err)
	}
}

func TestDistinct(t *testing.T) {
	text := func(name, data string) Text {
		got, err := NewText(FileCorpus, name, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err := Distinct([]Text{text("a", "1"), text("b", "2")}); err != nil {
		t.Error(err)
	}
	if err := Distinct(nil); err != nil {
		t.Error(err)
	}
	err := Distinct([]Text{text("a", "1"), text("b", "2"), text("a", "3")})
	if err == nil || !strings.Contains(err.Error(), `named "a"`) {
		t.Errorf("same name: %v", err)
	}
	err = Distinct([]Text{text("a", "1"), text("b", "1")})
	if err == nil || !strings.Contains(err.Error(), "a and b are the same text") {
		t.Errorf("same bytes: %v", err)
	}
}

// A text is taken exactly if it is UTF-8 without NUL, and an offset points at
// the first thing wrong.
func FuzzNewText(f *testing.F) {
	f.Add([]byte("plain\r\n"))
	f.Add([]byte("\xff"))
	f.Add([]byte("a\x00b"))
	f.Add([]byte("\xe6\xb1\x89\xe6"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := NewText(FileCorpus, "f", data)
		if ok := utf8.Valid(data) && !strings.Contains(string(data), "\x00"); ok != (err == nil) {
			t.Fatalf("%q: error %v", data, err)
		}
		if err == nil && string(text.Data) != string(data) {
			t.Fatalf("%q became %q", data, text.Data)
		}
		if at := invalidUTF8(data); at >= 0 {
			if r, size := utf8.DecodeRune(data[at:]); !utf8.Valid(data[:at]) || r != utf8.RuneError || size != 1 {
				t.Fatalf("%q: wrong offset %d", data, at)
			}
		}
	})
}
