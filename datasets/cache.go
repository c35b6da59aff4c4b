package datasets

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cache is a folder that keeps the corpora that assay does not carry. What it
// returns has been held against its digest in the same call. Any number of
// goroutines and processes may use one folder.
type Cache struct {
	// Client makes the requests of Pull; NewCache sets http.DefaultClient.
	Client *http.Client

	dir   string
	known []Corpus
	stall time.Duration // without a byte for so long, a download ends
}

// Progress is told how far a download has come: bytes that are there, resumed
// ones included, of total. It is called from the goroutine of Pull, first before
// the first byte comes, and must not keep it waiting.
type Progress func(done, total int64)

// NewCache returns the cache in the folder dir, or, with dir "", in the folder
// "assay" of the user's cache folder (os.UserCacheDir). It makes no folder.
func NewCache(dir string) (*Cache, error) {
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("datasets: no folder for the cache: %w", err)
		}
		dir = filepath.Join(user, "assay")
	}
	return &Cache{Client: http.DefaultClient, dir: dir, known: known, stall: time.Minute}, nil
}

// Dir returns the folder of the cache, which need not exist.
func (c *Cache) Dir() string { return c.dir }

// List returns all known corpora, the built-in one first.
func (c *Cache) List() ([]Corpus, error) {
	own, err := builtIn()
	if err != nil {
		return nil, err
	}
	list := []Corpus{own}
	for _, k := range c.known {
		_, err := c.read(k)
		k.Cached = err == nil
		list = append(list, k)
	}
	return list, nil
}

// Texts returns the texts of a known corpus: those of Heldout, or the one that
// the cache holds. The caller owns their bytes. A corpus that is not in the
// cache is an error that says how to get it.
func (c *Cache) Texts(name string) ([]Text, error) {
	if name == HeldoutCorpus {
		return Heldout()
	}
	k, err := c.corpus(name)
	if err != nil {
		return nil, err
	}
	data, err := c.read(k)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("datasets: %s is not in %s: get it with assay datasets pull %s%s",
			name, c.dir, name, k.fromHint())
	case err != nil:
		return nil, err
	}
	t, err := NewText(name, name, data)
	if err != nil {
		return nil, err
	}
	return []Text{t}, nil
}

// Pull brings a corpus into the cache and returns where its text is, or would be. From is
// "" for the corpus's own address, another address that begins with http:// or
// https:// and has the same bytes, or a file: the text, or the archive that has
// it. A corpus that is in the cache is not downloaded again.
//
// A download that ends early, because ctx is done or the connection breaks,
// leaves a part that the next Pull goes on from. Bytes that are not those of the
// corpus are an error and never enter the cache.
func (c *Cache) Pull(ctx context.Context, name, from string, progress Progress) (string, error) {
	k, err := c.corpus(name)
	if err != nil {
		return "", err
	}
	text := c.path(k, k.file)
	if from != "" && !isURL(from) {
		return text, c.importFile(k, from)
	}
	if _, err := c.read(k); err == nil {
		return text, nil
	}
	if from == "" {
		from = k.URL
	}
	if from == "" {
		return "", fmt.Errorf("datasets: %s has no public address: pull it with%s (%s: %d bytes, SHA-256 %s)",
			name, k.fromHint(), k.Description, k.Bytes, k.SHA256)
	}
	return text, c.pullURL(ctx, k, from, progress)
}

// fromHint is what must follow the name in the command that pulls the corpus.
func (c Corpus) fromHint() string {
	if c.URL == "" {
		return " --from FILE"
	}
	return ""
}

func isURL(from string) bool {
	return strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://")
}

// corpus returns the corpus of that name, if it is one that a cache keeps.
func (c *Cache) corpus(name string) (Corpus, error) {
	if name == HeldoutCorpus {
		return Corpus{}, fmt.Errorf("datasets: %s is built in: there is nothing to pull", name)
	}
	names := []string{HeldoutCorpus}
	for _, k := range c.known {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return Corpus{}, fmt.Errorf("datasets: no corpus is named %q: want one of %s", name, strings.Join(names, ", "))
}

// path returns where the cache has a file of a corpus.
func (c *Cache) path(k Corpus, file string) string {
	return filepath.Join(c.dir, "datasets", k.Name, file)
}

// read returns the text of a corpus from the cache.
func (c *Cache) read(k Corpus) ([]byte, error) {
	where := c.path(k, k.file)
	data, err := readLimited(where, maxText)
	if err != nil {
		return nil, err
	}
	if sum := digest(data); sum != k.SHA256 {
		return nil, refuse(c.known, where, int64(len(data)), sum, k)
	}
	return data, nil
}

// pullURL downloads what is at url and puts the corpus's text into the cache.
func (c *Cache) pullURL(ctx context.Context, k Corpus, url string, progress Progress) error {
	if progress == nil {
		progress = func(_, _ int64) {}
	}
	file := c.path(k, k.remoteFile())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("datasets: %w", err)
	}
	d := download{remote: k.remote(url), file: file, client: c.Client, stall: c.stall, progress: progress}
	if err := d.run(ctx); err != nil {
		return err
	}
	if k.archive == nil {
		return nil // the file is the text, in its place
	}
	if err := c.importFile(k, file); err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("datasets: %w", err)
	}
	return nil
}

// importFile puts the text of a corpus into the cache, from a file that is the
// text or the archive.
func (c *Cache) importFile(k Corpus, file string) error {
	data, err := readLimited(file, maxText)
	if err != nil {
		return err
	}
	sum := digest(data)
	if k.archive != nil && sum == k.archive.sha256 {
		file += ": " + k.archive.member
		if data, err = member(data, k.archive.member, k.Bytes); err != nil {
			return fmt.Errorf("datasets: %s: %w", file, err)
		}
		sum = digest(data)
	}
	if sum != k.SHA256 {
		return refuse(c.known, file, int64(len(data)), sum, k)
	}
	return writeFile(c.path(k, k.file), data)
}

// member returns the entry of a zip file with that base name, of size bytes.
func member(data []byte, base string, size int64) ([]byte, error) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	has := func(f *zip.File) bool { return path.Base(f.Name) == base }
	i := slices.IndexFunc(r.File, has)
	if i < 0 {
		return nil, errors.New("no entry of that name in the archive")
	}
	f := r.File[i]
	if slices.ContainsFunc(r.File[i+1:], has) {
		return nil, errors.New("two entries of that name in the archive")
	}
	if f.UncompressedSize64 != uint64(size) {
		return nil, fmt.Errorf("%d bytes, want %d", f.UncompressedSize64, size)
	}
	rc, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	text, err := io.ReadAll(io.LimitReader(rc, size+1))
	if err != nil {
		return nil, err
	}
	return text, nil
}

// writeFile makes the file at name hold data: whole, or as it was before.
func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("datasets: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return fmt.Errorf("datasets: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("datasets: %w", err)
	}
	return nil
}
