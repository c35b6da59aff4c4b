// Package rows keeps the reference's final hidden states on disk, from which
// its output projection makes the distributions again: exact over the whole
// vocabulary at a fraction of the size of logits.
package rows

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// Key names all that made a set of rows. Rows of another key are not used.
type Key struct {
	Variant string `json:"variant"` // digest of the reference variant
	Windows string `json:"windows"` // digest of the windows
	Engine  string `json:"engine"`  // engine, kernels, activations and options
	Batch   int    `json:"batch"`   // which of the windows' batches
	Tokens  int    `json:"tokens"`
	Hidden  int    `json:"hidden"`
}

// magic begins a file of rows, with its version.
const magic = "assay rows 1\n"

// maxKey bounds the key's JSON.
const maxKey = 1 << 16

// Write stores rows [Tokens, Hidden] under key. The file appears whole or not
// at all.
func Write(path string, key Key, rows []float32) (err error) {
	if len(rows) != key.Tokens*key.Hidden {
		return fmt.Errorf("rows: %d values for [%d, %d]", len(rows), key.Tokens, key.Hidden)
	}
	head, err := json.Marshal(key)
	if err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	var body bytes.Buffer
	body.Grow(len(magic) + 4 + len(head) + 4*len(rows) + sha256.Size)
	body.WriteString(magic)
	body.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(head))))
	body.Write(head)
	for _, v := range rows {
		body.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
	}
	sum := sha256.Sum256(body.Bytes())
	body.Write(sum[:])
	return replace(path, body.Bytes())
}

// replace writes a file beside path, waits until it is on the disk, and
// renames it.
func replace(path string, data []byte) error {
	if stale, err := filepath.Glob(path + ".tmp*"); err == nil {
		for _, s := range stale { // of a run that was killed while it wrote
			os.Remove(s)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return fmt.Errorf("rows: %w", err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("rows: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	return nil
}

// Read returns the rows stored under key. ok is false, without an error, where
// there is no file or it holds other rows; a damaged file is an error.
func Read(path string, key Key) (rows []float32, ok bool, err error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("rows: %w", err)
	}
	got, body, err := parse(data)
	if err != nil {
		return nil, false, fmt.Errorf("rows: %s: %w", path, err)
	}
	if got != key {
		return nil, false, nil
	}
	rows = make([]float32, len(body)/4)
	for i := range rows {
		rows[i] = math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))
	}
	return rows, true, nil
}

// parse checks a file and returns its key and the bytes of its rows.
func parse(data []byte) (key Key, body []byte, err error) {
	rest, found := bytes.CutPrefix(data, []byte(magic))
	if !found {
		return Key{}, nil, fmt.Errorf("not a file of rows of this version")
	}
	if len(rest) < 4+sha256.Size {
		return Key{}, nil, io.ErrUnexpectedEOF
	}
	n := binary.LittleEndian.Uint32(rest)
	if n > maxKey || int(n) > len(rest)-4-sha256.Size {
		return Key{}, nil, fmt.Errorf("a key of %d bytes", n)
	}
	if sum := sha256.Sum256(data[:len(data)-sha256.Size]); !bytes.Equal(sum[:], data[len(data)-sha256.Size:]) {
		return Key{}, nil, fmt.Errorf("its checksum is wrong")
	}
	if err := json.Unmarshal(rest[4:4+n], &key); err != nil {
		return Key{}, nil, err
	}
	body = rest[4+n : len(rest)-sha256.Size]
	if key.Tokens < 0 || key.Hidden < 1 || len(body)/4/key.Hidden != key.Tokens || len(body) != 4*key.Tokens*key.Hidden {
		return Key{}, nil, fmt.Errorf("%d bytes of rows for [%d, %d]", len(body), key.Tokens, key.Hidden)
	}
	return key, body, nil
}
