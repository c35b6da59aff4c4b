package datasets

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// file writes data to a new file and returns its path.
func file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPullImports(t *testing.T) {
	for _, c := range []struct {
		corpus, file string
		data         []byte
		want         string
	}{
		{"plain", "any name", []byte(plainText), plainText},
		{"plain-raw", "set.test.raw", []byte(rawText), rawText},
		{"plain-raw", "some.zip", rawZip, rawText},
	} {
		cache := testCache(t, "")
		from := file(t, c.file, c.data)
		where, err := cache.Pull(t.Context(), c.corpus, from, nil)
		if err != nil {
			t.Errorf("%s from %s: %v", c.corpus, c.file, err)
			continue
		}
		texts, err := cache.Texts(c.corpus)
		if err != nil || len(texts) != 1 || string(texts[0].Data) != c.want {
			t.Errorf("%s from %s: %d texts, %v", c.corpus, c.file, len(texts), err)
		}
		if got, err := os.ReadFile(where); err != nil || string(got) != c.want {
			t.Errorf("%s from %s: %s does not hold the text (%v)", c.corpus, c.file, where, err)
		}
		if got, err := os.ReadFile(from); err != nil || string(got) != string(c.data) {
			t.Errorf("%s: the file that was imported changed (%v)", c.corpus, err)
		}
	}
}

// The two releases are never taken for each other, whatever a file is called;
// nor is anything else taken for either.
func TestPullRefusesOtherFiles(t *testing.T) {
	changed := strings.Replace(plainText, "<unk>", "known", 1)
	for _, c := range []struct {
		corpus, file string
		data         []byte
		want         string
	}{
		{"plain", "test.txt", []byte(rawText), "test.txt is plain-raw, not plain"},
		{"plain", "test.txt", rawZip, "test.txt is the archive of plain-raw, not plain"},
		{"plain-raw", "set.test.raw", []byte(plainText), "set.test.raw is plain, not plain-raw"},
		{"plain", "test.txt", []byte(changed), digest([]byte(changed)) + ", want "},
		{"plain", "test.txt", nil, "is not plain: 0 bytes with SHA-256 e3b0c442"},
		{"plain-raw", "set.zip", zipOf("set.test.raw", rawText), "set.zip is not plain-raw"},
	} {
		cache := testCache(t, "")
		_, err := cache.Pull(t.Context(), c.corpus, file(t, c.file, c.data), nil)
		if err == nil || !strings.HasPrefix(err.Error(), "datasets: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s as %s: error %v, want one with %q", c.file, c.corpus, err, c.want)
		}
		if _, err := os.Stat(cache.Dir()); !os.IsNotExist(err) {
			t.Errorf("%s as %s: something entered the cache (%v)", c.file, c.corpus, err)
		}
	}
	// One that was put into the cache by hand is found out when it is read.
	cache := testCache(t, "")
	if err := writeFile(cache.path(cache.known[0], "test.txt"), []byte(rawText)); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Texts("plain"); err == nil || !strings.Contains(err.Error(), "is plain-raw, not plain") {
		t.Errorf("swapped in the cache: %v", err)
	}
}

func TestPullErrors(t *testing.T) {
	cache := testCache(t, "")
	for _, c := range []struct{ name, from, want string }{
		{"heldout", "", "heldout is built in"},
		{"heldout", "some.txt", "heldout is built in"},
		{"wikitext", "", `no corpus is named "wikitext": want one of heldout, plain, plain-raw`},
		{"plain", "", "plain has no public address: pull it with --from FILE"},
		{"plain", filepath.Join(t.TempDir(), "absent"), "absent: no such file"},
	} {
		if _, err := cache.Pull(t.Context(), c.name, c.from, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("pull %s from %q: error %v, want one with %q", c.name, c.from, err, c.want)
		}
	}
	for name, want := range map[string]string{
		"plain":     "get it with assay datasets pull plain --from FILE",
		"wikitext":  "no corpus is named",
		"plain-raw": "plain-raw is not in " + cache.Dir(),
	} {
		if _, err := cache.Texts(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("texts of %s: error %v, want one with %q", name, err, want)
		}
	}
}

// A text that was damaged in the cache is refused, listed as absent, and comes
// back with the next pull.
func TestDamagedCacheHeals(t *testing.T) {
	s := &server{data: rawZip}
	cache := testCache(t, serve(t, s))
	where, err := cache.Pull(t.Context(), "plain-raw", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(where, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Texts("plain-raw"); err == nil || !strings.Contains(err.Error(), "1000 bytes with SHA-256") {
		t.Errorf("damaged text: %v", err)
	}
	list, err := cache.List()
	if err != nil || list[2].Cached {
		t.Errorf("a damaged text is listed as cached (%v)", err)
	}
	if _, err := cache.Pull(t.Context(), "plain-raw", "", nil); err != nil {
		t.Fatal(err)
	}
	mustHold(t, cache)
}

// Another address serves the text of a corpus that has no archive.
func TestPullFromMirror(t *testing.T) {
	cache := testCache(t, "")
	if _, err := cache.Pull(t.Context(), "plain", serve(t, &server{data: []byte(plainText)}), nil); err != nil {
		t.Fatal(err)
	}
	texts, err := cache.Texts("plain")
	if err != nil || string(texts[0].Data) != plainText {
		t.Errorf("%v", err)
	}
	_, err = cache.Pull(t.Context(), "plain-raw", serve(t, &server{data: []byte(plainText)}), nil)
	if err == nil || !strings.Contains(err.Error(), "the server has") {
		t.Errorf("the other corpus from a mirror: %v", err)
	}
}

func TestMember(t *testing.T) {
	got, err := member(rawZip, "set.test.raw", int64(len(rawText)))
	if err != nil || string(got) != rawText {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	damaged := slices.Clone(rawZip)
	damaged[len(damaged)-1] ^= 1
	damaged[200] ^= 1 // in the deflated text
	for _, c := range []struct {
		name string
		zip  []byte
		size int
		want string
	}{
		{"no zip", []byte("PK"), 3, "not a valid zip file"},
		{"another member", zipOf("set.valid.raw", "abc"), 3, "no entry of that name"},
		{"a folder of that name", zipOf("set.test.raw/other", "abc"), 3, "no entry of that name"},
		{"two members", zipOf("a/set.test.raw", "abc", "b/set.test.raw", "abc"), 3, "two entries of that name"},
		{"another size", zipOf("set.test.raw", "abcd"), 3, "4 bytes, want 3"},
		{"damaged", damaged, len(rawText), ""},
	} {
		if _, err := member(c.zip, "set.test.raw", int64(c.size)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// What is known of each corpus is complete, and no two can be confused.
func TestKnownCorpora(t *testing.T) {
	cache, err := NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	list, err := cache.List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	seen := map[string]string{}
	for _, c := range list {
		names = append(names, c.Name)
		digests := []string{c.SHA256}
		if c.archive != nil {
			digests = append(digests, c.archive.sha256)
		}
		for _, sum := range digests {
			if b, err := hex.DecodeString(sum); err != nil || len(b) != 32 || sum != strings.ToLower(sum) {
				t.Errorf("%s: digest %q", c.Name, sum)
			}
			if other, ok := seen[sum]; ok {
				t.Errorf("%s and %s have the same digest", c.Name, other)
			}
			seen[sum] = c.Name
		}
		if c.Description == "" || c.License == "" || c.Bytes <= 0 || c.Cached || c.BuiltIn != (c.file == "") {
			t.Errorf("incomplete: %+v", c)
		}
	}
	if want := []string{"heldout", "wikitext-2", "wikitext-2-raw"}; !slices.Equal(names, want) {
		t.Errorf("corpora %v, want %v", names, want)
	}
}

// Without a folder it is the user's cache; a user without one is told so.
func TestNewCacheDefault(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", "")
	cache, err := NewCache("")
	if err != nil {
		t.Fatal(err)
	}
	if rel, err := filepath.Rel(home, cache.Dir()); err != nil || strings.HasPrefix(rel, "..") || filepath.Base(rel) != "assay" {
		t.Errorf("cache in %s", cache.Dir())
	}
	if entries, _ := os.ReadDir(home); len(entries) != 0 {
		t.Errorf("NewCache made %v", entries)
	}
	t.Setenv("HOME", "")
	if _, err := NewCache(""); err == nil || !strings.Contains(err.Error(), "no folder for the cache") {
		t.Errorf("no home: %v", err)
	}
}

// The real release, where it is at hand.
func TestWikitext2(t *testing.T) {
	shared := os.Getenv("ASSAY_SHARED")
	if shared == "" {
		t.Skip("ASSAY_SHARED does not name the folder that has data/wikitext-2")
	}
	cache, err := NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(shared, "data", "wikitext-2")
	if _, err := cache.Pull(t.Context(), "wikitext-2", filepath.Join(dir, "test.txt"), nil); err != nil {
		t.Fatal(err)
	}
	texts, err := cache.Texts("wikitext-2")
	if err != nil {
		t.Fatal(err)
	}
	if len(texts[0].Data) != 1_256_449 || !strings.Contains(string(texts[0].Data), "<unk>") {
		t.Errorf("%d bytes", len(texts[0].Data))
	}
	if _, err := cache.Pull(t.Context(), "wikitext-2-raw", filepath.Join(dir, "test.txt"), nil); err == nil || !strings.Contains(err.Error(), "test.txt is wikitext-2, not wikitext-2-raw") {
		t.Errorf("as the raw release: %v", err)
	}
	if _, err := cache.Pull(t.Context(), "wikitext-2", filepath.Join(dir, "valid.txt"), nil); err == nil || !strings.Contains(err.Error(), "1121681 bytes") {
		t.Errorf("another split: %v", err)
	}
}
