package shard

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/gofrs/flock"
)

// What a build keeps in its folder beside the files themselves. No loader
// takes any of it for weights.
const (
	journalName = ".build.json"
	lockName    = ".build.lock"
	partial     = ".partial" // ends the names of half-written files
)

// temporary returns the name under which a file is written.
func temporary(name string) string {
	if strings.HasPrefix(name, ".") {
		return name + partial
	}
	return "." + name + partial
}

// journalVersion is the version of the journal that this code writes.
//
//	1  first version
const journalVersion = 1

// journal says how far a build is.
type journal struct {
	Version int               `json:"version"`
	Key     string            `json:"key"`    // of the caller
	Plan    string            `json:"plan"`   // digest of the planned files
	Shards  map[string]string `json:"shards"` // digests of the finished ones
	Files   []string          `json:"files"`  // the small files, written or about to be
}

func newJournal(key string, files []File, heads [][]byte) journal {
	h := sha256.New()
	for i, f := range files {
		fmt.Fprintf(h, "%s %d\n", f.Name, len(heads[i]))
		h.Write(heads[i])
	}
	return journal{Version: journalVersion, Key: key, Plan: hex.EncodeToString(h.Sum(nil)), Shards: map[string]string{}, Files: []string{}}
}

// writeJournal makes the journal last. The caller holds mu or is alone.
func (b *Build) writeJournal() error {
	data, err := json.MarshalIndent(b.journal, "", " ")
	if err != nil {
		return fmt.Errorf("shard: %w", err)
	}
	if err := b.disk.replace(b.at(journalName), b.at(temporary(journalName)), data); err != nil {
		return b.disk.failed(b.at(journalName), int64(len(data)), err)
	}
	return nil
}

// readJournal returns the folder's journal, or nil if there is none.
func (b *Build) readJournal() (*journal, error) {
	data, err := os.ReadFile(b.at(journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("shard: %w", err)
	}
	j := &journal{}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("shard: %s: %w; remove the folder to begin anew", b.at(journalName), err)
	}
	switch {
	case j.Version != journalVersion:
		return nil, fmt.Errorf("shard: %s: version %d, want %d: another version of the program began this build; remove the folder to begin anew",
			b.at(journalName), j.Version, journalVersion)
	case j.Key != b.journal.Key || j.Plan != b.journal.Plan:
		return nil, fmt.Errorf("shard: %s holds an unfinished build of another recipe, source or set of options; finish it as it was begun, or remove the folder", b.dir)
	}
	for name := range j.Shards {
		if !b.planned(name) {
			return nil, fmt.Errorf("shard: %s: names %q, which is not planned; remove the folder to begin anew", b.at(journalName), name)
		}
	}
	if j.Shards == nil {
		j.Shards = map[string]string{}
	}
	return j, nil
}

// look says what the folder holds, and changes nothing: the journal of an
// unfinished build of b's key, or nil where it is empty or missing. Anything
// else is an error.
func (b *Build) look() (*journal, error) {
	info, err := os.Stat(b.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("shard: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("shard: %s is a file, want a folder", b.dir)
	}
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, fmt.Errorf("shard: %w", err)
	}
	found, err := b.readJournal()
	if err != nil {
		return nil, err
	}
	known := journal{}
	if found != nil {
		known = *found
	}
	var foreign []string
	for _, e := range entries {
		if name := e.Name(); !b.ours(name, known) || found == nil && b.planned(name) {
			foreign = append(foreign, name)
		}
	}
	if len(foreign) == 0 {
		return found, nil
	}
	if found == nil && b.finished(foreign) {
		b.dropLock()
		return nil, fmt.Errorf("shard: %s: %w", b.dir, ErrFinished)
	}
	list := strings.Join(foreign[:min(3, len(foreign))], ", ")
	if n := len(foreign) - 3; n > 0 {
		list += fmt.Sprintf(" and %d more", n)
	}
	if found != nil {
		return nil, fmt.Errorf("shard: %s holds files that are not of its unfinished build: %s; move them away to go on", b.dir, list)
	}
	return nil, fmt.Errorf("shard: %s holds something else than an unfinished build: %s; want an empty folder or a new one", b.dir, list)
}

// ours says whether a name in the folder is one that a build with the journal j
// may have left there.
func (b *Build) ours(name string, j journal) bool {
	if name == journalName || name == temporary(journalName) || name == lockName || name == ".DS_Store" {
		return true
	}
	is := func(f string) bool { return name == f || name == temporary(f) }
	return slices.ContainsFunc(b.files, func(f File) bool { return is(f.Name) }) || slices.ContainsFunc(j.Files, is)
}

// finished says whether the folder holds all planned files, whole as far as
// headers and sizes tell, and no other weights.
func (b *Build) finished(names []string) bool {
	for _, name := range names {
		if weights, _ := path.Match("model*.safetensors", name); weights && !b.planned(name) {
			return false
		}
	}
	for i, f := range b.files {
		if !b.sized(i) || !startsWith(b.at(f.Name), b.heads[i]) {
			return false
		}
	}
	return true
}

func startsWith(path string, head []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	got := make([]byte, len(head))
	_, err = io.ReadFull(f, got)
	return err == nil && string(got) == string(head)
}

// dropLock removes the lock file that a build left which was killed when it had
// finished, unless somebody holds it.
func (b *Build) dropLock() {
	lock := flock.New(b.at(lockName), flock.SetPermissions(0o644))
	if _, err := os.Stat(b.at(lockName)); err != nil {
		return
	}
	if ok, err := lock.TryLock(); err == nil && ok {
		b.disk.remove(b.at(lockName))
		lock.Unlock()
	}
}
