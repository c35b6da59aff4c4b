package datasets

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Two corpora in small: one from an archive, one of which only the text is known.
var (
	rawText   = strings.Repeat("raw text, of which there are many lines \n", 20_000)
	plainText = strings.Repeat("text with <unk> in it \n", 30)
	rawZip    = zipOf("set/set.valid.raw", "no", "set/set.test.raw", rawText)
)

// zipOf returns a zip file of entries, which are name, text, name, text, ... It
// has noise in it too, so that a part of it is not small.
func zipOf(entries ...string) []byte {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	noise := make([]byte, 300_000)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(noise)
	for i := 0; i < len(entries); i += 2 {
		e, _ := w.Create(entries[i])
		e.Write([]byte(entries[i+1]))
	}
	e, _ := w.CreateHeader(&zip.FileHeader{Name: "noise", Method: zip.Store})
	e.Write(noise)
	w.Close()
	return buf.Bytes()
}

// testCache returns a cache of small corpora in a new folder; raw's address is url.
func testCache(t *testing.T, url string) *Cache {
	t.Helper()
	c, err := NewCache(filepath.Join(t.TempDir(), "new", "cache"))
	if err != nil {
		t.Fatal(err)
	}
	c.known = []Corpus{
		{Name: "plain", Description: "small", Bytes: int64(len(plainText)), SHA256: digest([]byte(plainText)), file: "test.txt"},
		{Name: "plain-raw", URL: url, Bytes: int64(len(rawText)), SHA256: digest([]byte(rawText)), file: "set.test.raw",
			archive: &archive{bytes: int64(len(rawZip)), sha256: digest(rawZip), member: "set.test.raw"}},
	}
	return c
}

// server serves data as a good server does, with ranges and the given entity
// tag, but cuts the body of request number i after cut[i] bytes. It keeps the
// Range and If-Range headers that it got.
type server struct {
	data   []byte
	etag   string
	cut    []int
	ranges []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := len(s.ranges)
	s.ranges = append(s.ranges, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	if n < len(s.cut) {
		w = &cutter{w, s.cut[n]}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
}

// cutter lets some bytes of a body through, then breaks the connection.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) < c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	c.ResponseWriter.Write(b[:c.left])
	c.ResponseWriter.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s.URL + "/set.zip"
}

// partOf returns the part that the cache keeps of plain-raw's archive.
func partOf(c *Cache) string {
	return filepath.Join(c.dir, "datasets", "plain-raw", "plain-raw.zip.part")
}

// mustHold fails unless the cache gives the text of plain-raw, and has nothing else.
func mustHold(t *testing.T, c *Cache) {
	t.Helper()
	texts, err := c.Texts("plain-raw")
	if err != nil {
		t.Fatal(err)
	}
	if len(texts) != 1 || string(texts[0].Data) != rawText || texts[0].Name != "plain-raw" || texts[0].Corpus != "plain-raw" {
		t.Errorf("the cache gives %d texts, the first %.20q...", len(texts), texts[0].Data)
	}
	entries, err := os.ReadDir(filepath.Dir(partOf(c)))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestPullDownloads(t *testing.T) {
	s := &server{data: rawZip, etag: `"v1"`}
	c := testCache(t, serve(t, s))
	var calls [][2]int64
	where, err := c.Pull(t.Context(), "plain-raw", "", func(done, total int64) { calls = append(calls, [2]int64{done, total}) })
	if err != nil {
		t.Fatal(err)
	}
	if where != filepath.Join(c.Dir(), "datasets", "plain-raw", "set.test.raw") {
		t.Errorf("path %s", where)
	}
	mustHold(t, c)
	size := int64(len(rawZip))
	if calls[0] != [2]int64{0, size} || calls[len(calls)-1] != [2]int64{size, size} {
		t.Errorf("progress from %v to %v, want from 0 to %d of %d", calls[0], calls[len(calls)-1], size, size)
	}
	if !slices.IsSortedFunc(calls, func(a, b [2]int64) int { return int(a[0] - b[0]) }) {
		t.Error("progress went back")
	}
	// Again: the cache has it, and nobody is asked.
	if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err != nil || len(s.ranges) != 1 {
		t.Errorf("second pull: %v, %d requests in all", err, len(s.ranges))
	}
}

// Each broken connection leaves its bytes, and the next pull asks for the rest
// alone, on the condition that the file is still the same.
func TestPullResumes(t *testing.T) {
	s := &server{data: rawZip, etag: `"v1"`, cut: []int{100_000, 50_000}}
	c := testCache(t, serve(t, s))
	for i, want := range []int64{100_000, 150_000} {
		_, err := c.Pull(t.Context(), "plain-raw", "", nil)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("ended after %d of %d bytes, which are kept", want, len(rawZip))) {
			t.Fatalf("pull %d: %v", i, err)
		}
		if info, err := os.Stat(partOf(c)); err != nil || info.Size() != want {
			t.Fatalf("pull %d leaves %v, %v, want %d bytes", i, info, err, want)
		}
		if _, err := c.Texts("plain-raw"); err == nil {
			t.Fatal("half a download is a text")
		}
	}
	first := int64(-1)
	if _, err := c.Pull(t.Context(), "plain-raw", "", func(done, _ int64) {
		if first < 0 {
			first = done
		}
	}); err != nil {
		t.Fatal(err)
	}
	mustHold(t, c)
	if first != 150_000 {
		t.Errorf("progress begins at %d, want 150000", first)
	}
	if want := []string{" ", `bytes=100000- "v1"`, `bytes=150000- "v1"`}; !slices.Equal(s.ranges, want) {
		t.Errorf("asked for %q, want %q", s.ranges, want)
	}
}

// A part is gone on from at another address too: the digest says that it is the
// same file, and the other's entity tag is not asked for.
func TestPullResumesElsewhere(t *testing.T) {
	s := &server{data: rawZip, etag: `"v1"`, cut: []int{100_000}}
	c := testCache(t, serve(t, s))
	if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err == nil {
		t.Fatal("a broken connection is no error")
	}
	mirror := &server{data: rawZip, etag: `"other"`}
	if _, err := c.Pull(t.Context(), "plain-raw", serve(t, mirror), nil); err != nil {
		t.Fatal(err)
	}
	mustHold(t, c)
	if want := []string{"bytes=100000- "}; !slices.Equal(mirror.ranges, want) {
		t.Errorf("asked the mirror for %q, want %q", mirror.ranges, want)
	}
}

// A server whose file changed meanwhile sends the whole, and the part is dropped.
func TestPullStartsOverWhenTheTagChanged(t *testing.T) {
	s := &server{data: bytes.Repeat([]byte{'x'}, len(rawZip)), etag: `"v1"`, cut: []int{100_000}}
	c := testCache(t, serve(t, s))
	if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err == nil {
		t.Fatal("a broken connection is no error")
	}
	s.data, s.etag = rawZip, `"v2"`
	if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err != nil {
		t.Fatal(err)
	}
	mustHold(t, c)
}

// Weak and absent tags must not be sent; the digest finds out what they hide.
func TestPullWithoutStrongTag(t *testing.T) {
	for _, etag := range []string{"", `W/"v1"`} {
		s := &server{data: rawZip, etag: etag, cut: []int{100_000}}
		c := testCache(t, serve(t, s))
		if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err == nil {
			t.Fatal("a broken connection is no error")
		}
		if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err != nil {
			t.Fatal(err)
		}
		mustHold(t, c)
		if want := []string{" ", "bytes=100000- "}; !slices.Equal(s.ranges, want) {
			t.Errorf("tag %s: asked for %q, want %q", etag, s.ranges, want)
		}
	}
}

// A server that ignores Range sends the whole: it replaces the part.
func TestPullWhenRangesAreIgnored(t *testing.T) {
	n := 0
	c := testCache(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w = &cutter{w, 70_000}
		}
		w.Write(rawZip)
	})))
	if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err == nil {
		t.Fatal("a broken connection is no error")
	}
	if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err != nil {
		t.Fatal(err)
	}
	mustHold(t, c)
}

// A part that was damaged on the disk is found out by its digest and removed;
// then a new run starts over.
func TestPullFindsDamagedPart(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"a flipped bit":     func(b []byte) []byte { b[500] ^= 4; return b },
		"whole but wrong":   func([]byte) []byte { return bytes.Repeat([]byte{7}, len(rawZip)) },
		"from another file": func(b []byte) []byte { return bytes.Repeat([]byte("?"), len(b)) },
	} {
		s := &server{data: rawZip, etag: `"v1"`, cut: []int{100_000}}
		c := testCache(t, serve(t, s))
		if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err == nil {
			t.Fatal("a broken connection is no error")
		}
		part, err := os.ReadFile(partOf(c))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(partOf(c), damage(part), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err = c.Pull(t.Context(), "plain-raw", "", nil)
		if err == nil || !strings.Contains(err.Error(), "want "+digest(rawZip)) || !strings.Contains(err.Error(), "removed") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(partOf(c)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the part is still there (%v)", name, err)
		}
		if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err != nil {
			t.Errorf("%s: starting over: %v", name, err)
		}
		mustHold(t, c)
	}
}

// A part longer than the file is no part of it, and a whole one needs no request.
func TestPullWithWholePart(t *testing.T) {
	for _, extra := range []int{0, 5} {
		s := &server{data: rawZip}
		c := testCache(t, serve(t, s))
		if err := writeFile(partOf(c), append(slices.Clone(rawZip), make([]byte, extra)...)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err != nil {
			t.Fatal(err)
		}
		mustHold(t, c)
		if want := min(extra, 1); len(s.ranges) != want {
			t.Errorf("%d bytes too many: %d requests, want %d", extra, len(s.ranges), want)
		}
	}
}

// What a server may do wrong, each with one sentence, none with a text.
func TestPullServerErrors(t *testing.T) {
	head := func(w http.ResponseWriter, status int, pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			w.Header().Set(pairs[i], pairs[i+1])
		}
		w.WriteHeader(status)
	}
	size := fmt.Sprint(len(rawZip))
	chunked := func(w http.ResponseWriter, b []byte) { // no Content-Length
		w.(http.Flusher).Flush()
		w.Write(b)
	}
	for _, c := range []struct {
		name   string
		had    int // bytes in the part before
		handle func(w http.ResponseWriter, r *http.Request)
		want   string
		kept   int // bytes in the part afterwards, -1 for none
	}{
		{"not found", 1000, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, "the server answers 404 Not Found", 1000},
		{"broken server", 1000, func(w http.ResponseWriter, _ *http.Request) { head(w, 503) }, "the server answers 503 Service Unavailable", 1000},
		{"web page", 1000, func(w http.ResponseWriter, _ *http.Request) {
			head(w, 200, "Content-Type", "text/html; charset=utf-8")
			w.Write([]byte("<html>Please log in"))
		}, "a web page, not with the file", 1000},
		{"web page in chunks", 0, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "TEXT/HTML")
			chunked(w, []byte("<html>Please log in"))
		}, "a web page, not with the file", 0},
		{"another size", 1000, func(w http.ResponseWriter, _ *http.Request) { w.Write(rawZip[:777]) }, "the server has 777 bytes, want " + size, 1000},
		{"wrong bytes", 0, func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte{1}, len(rawZip))) },
			"SHA-256 " + digest(bytes.Repeat([]byte{1}, len(rawZip))) + ", want " + digest(rawZip), -1},
		{"ends early, in chunks", 0, func(w http.ResponseWriter, _ *http.Request) { chunked(w, rawZip[:4000]) }, "ended after 4000 of " + size, 4000},
		{"never ends, in chunks", 0, func(w http.ResponseWriter, _ *http.Request) { chunked(w, append(slices.Clone(rawZip), '!')) }, "more than the " + size + " bytes", -1},
		{"nothing after the part", 1000, func(w http.ResponseWriter, _ *http.Request) { head(w, 416) }, "nothing after byte 1000, want " + size, -1},
		{"another range", 1000, func(w http.ResponseWriter, _ *http.Request) { head(w, 206, "Content-Range", "bytes 999-1999/"+size) }, "bytes from 999 on, asked from 1000 on", 1000},
		{"range of another size", 1000, func(w http.ResponseWriter, _ *http.Request) { head(w, 206, "Content-Range", "bytes 1000-1999/2000") }, "the server has 2000 bytes, want " + size, 1000},
		{"range of unknown size, too long", 1000, func(w http.ResponseWriter, _ *http.Request) {
			head(w, 206, "Content-Range", "bytes 1000-999999/*")
			w.Write(rawZip)
		}, "more than the " + size + " bytes", -1},
		{"no range", 1000, func(w http.ResponseWriter, _ *http.Request) { head(w, 206) }, `Content-Range ""`, 1000},
		{"a range that was not asked for", 0, func(w http.ResponseWriter, _ *http.Request) { head(w, 206, "Content-Range", "bytes 1000-1999/"+size) }, "bytes from 1000 on, asked from 0 on", 0},
		{"redirects in a circle", 1000, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "stopped after 10 redirects", 1000},
		{"hangs up", 0, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "not one byte came: EOF", 0},
	} {
		cache := testCache(t, serve(t, http.HandlerFunc(c.handle)))
		if err := writeFile(partOf(cache), rawZip[:c.had]); err != nil {
			t.Fatal(err)
		}
		_, err := cache.Pull(t.Context(), "plain-raw", "", nil)
		if err == nil || !strings.HasPrefix(err.Error(), "datasets: http://127.0.0.1:") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
		kept := -1
		if info, err := os.Stat(partOf(cache)); err == nil {
			kept = int(info.Size())
		}
		if kept != c.kept {
			t.Errorf("%s: the part has %d bytes, want %d", c.name, kept, c.kept)
		}
		if _, err := cache.Texts("plain-raw"); err == nil || !strings.Contains(err.Error(), "plain-raw is not in") {
			t.Errorf("%s: the cache has a text (%v)", c.name, err)
		}
	}
}

// Whoever stops a download keeps what came, and goes on from it.
func TestPullCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan bool)
	n := 0
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n > 1 {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(rawZip))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(rawZip)))
		w.Write(rawZip[:5000])
		w.(http.Flusher).Flush()
		<-release
	}))
	defer close(release)
	c := testCache(t, url)
	_, err := c.Pull(ctx, "plain-raw", "", func(done, _ int64) {
		if done == 5000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "5000 of") {
		t.Fatalf("error %v, want a cancelled context after 5000 bytes", err)
	}
	if _, err := c.Pull(ctx, "plain-raw", "", nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v under a context that is done", err)
	}
	if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err != nil {
		t.Fatal(err)
	}
	mustHold(t, c)
}

// A server that goes silent is given up, before and after its first byte.
func TestPullStalled(t *testing.T) {
	for _, sent := range []int{0, 5000} {
		release := make(chan bool)
		c := testCache(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if sent > 0 {
				w.Header().Set("Content-Length", fmt.Sprint(len(rawZip)))
				w.Write(rawZip[:sent])
				w.(http.Flusher).Flush()
			}
			<-release
		})))
		c.stall = 100 * time.Millisecond
		_, err := c.Pull(t.Context(), "plain-raw", "", nil)
		if !errors.Is(err, errStalled) || !strings.Contains(err.Error(), "100ms") {
			t.Errorf("after %d bytes: %v", sent, err)
		}
		close(release)
	}
}

// Of two at once, one downloads and the other says so.
func TestPullTwiceAtOnce(t *testing.T) {
	c := testCache(t, serve(t, &server{data: rawZip}))
	tried := false
	if _, err := c.Pull(t.Context(), "plain-raw", "", func(_, _ int64) {
		if tried {
			return
		}
		tried = true
		if _, err := c.Pull(t.Context(), "plain-raw", "", nil); err == nil || !strings.Contains(err.Error(), "another process is at it") {
			t.Errorf("the second: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	mustHold(t, c)
}

func TestPullUnreachable(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	url := s.URL
	s.Close()
	_, err := testCache(t, url).Pull(t.Context(), "plain-raw", "", nil)
	if err == nil || !strings.Contains(err.Error(), "not one byte came: dial tcp") || strings.Count(err.Error(), url) != 1 {
		t.Errorf("%v", err)
	}
}

func TestParseContentRange(t *testing.T) {
	for header, want := range map[string][2]int64{"bytes 0-0/1": {0, 1}, "bytes 100-199/200": {100, 200}, "bytes 5-9/*": {5, -1}} {
		from, total, err := parseContentRange(header)
		if err != nil || from != want[0] || total != want[1] {
			t.Errorf("%q: %d, %d, %v", header, from, total, err)
		}
	}
	for _, header := range []string{"", "bytes */200", "bytes 5-4/9", "bytes 0-9/9", "bytes -1-9/10", "bytes 1-9/10x", "items 1-9/10", "bytes 1-9", "bytes 1-9999999999999999999/*"} {
		if _, _, err := parseContentRange(header); err == nil {
			t.Errorf("%q was read", header)
		}
	}
}
