package shard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// maxHeader is the longest header that readers of the field take.
const maxHeader = 100_000_000

// digestOf is a shard's digest in hexadecimal, made of its header, the length
// counted, and the digest of each tensor's bytes in their order:
//
//	SHA-256(header, SHA-256(tensor 0), SHA-256(tensor 1), ...)
//
// It is known when the last byte is written, whatever the order in which the
// tensors were, and many cores can compute it.
func digestOf(header []byte, sums [][sha256.Size]byte) string {
	h := sha256.New()
	h.Write(header)
	for _, s := range sums {
		h.Write(s[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Digest reads a finished file again and returns its digest in hexadecimal,
// as Build.Digests gives it. It errs on a file whose tensors do not lie one
// after the other from the header to the end.
func Digest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("shard: %w", err)
	}
	defer f.Close()
	header, ends, err := readHeader(f)
	if err != nil {
		return "", fmt.Errorf("shard: %s: %w", path, err)
	}
	sums, err := sumAll(ctx, f, int64(len(header)), ends, func(int64) {})
	if err != nil {
		return "", fmt.Errorf("shard: %s: %w", path, reason(err))
	}
	return digestOf(header, sums), nil
}

// readHeader returns a file's header, and where each tensor ends in the data,
// in the order of the data.
func readHeader(f *os.File) (header []byte, ends []int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, reason(err)
	}
	var length [8]byte
	if _, err := f.ReadAt(length[:], 0); err != nil {
		return nil, nil, fmt.Errorf("%d bytes are no safetensors file", info.Size())
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > info.Size()-8 {
		return nil, nil, fmt.Errorf("header of %d bytes in a file of %d", n, info.Size())
	}
	header = make([]byte, 8+n)
	if _, err := f.ReadAt(header, 0); err != nil {
		return nil, nil, reason(err)
	}
	var entries map[string]struct {
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(bytes.TrimRight(header[8:], " "), &entries); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	delete(entries, "__metadata__")
	spans := make([][2]int64, 0, len(entries))
	for _, e := range entries {
		spans = append(spans, e.Offsets)
	}
	slices.SortFunc(spans, func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	at := int64(0)
	for _, s := range spans {
		if s[0] != at || s[1] < at {
			return nil, nil, fmt.Errorf("header: a tensor has the bytes %d to %d, the one before it ends at %d", s[0], s[1], at)
		}
		at = s[1]
		ends = append(ends, at)
	}
	if size := info.Size() - int64(len(header)); at != size {
		return nil, nil, fmt.Errorf("header: the tensors have %d bytes, the file %d", at, size)
	}
	return header, ends, nil
}

// sumAll returns the digest of each of the spans of f that end at ends, the
// first of which begins at start, on all cores. read is told of bytes read,
// one call at a time.
func sumAll(ctx context.Context, f io.ReaderAt, start int64, ends []int64, read func(n int64)) ([][sha256.Size]byte, error) {
	sums := make([][sha256.Size]byte, len(ends))
	var next atomic.Int64
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(ends)) {
		wg.Go(func() {
			buf := make([]byte, 1<<20)
			for {
				i := int(next.Add(1) - 1)
				if i >= len(ends) {
					return
				}
				from := int64(0)
				if i > 0 {
					from = ends[i-1]
				}
				err := sumSpan(ctx, f, start+from, start+ends[i], buf, &sums[i], func(n int64) {
					mu.Lock()
					defer mu.Unlock()
					read(n)
				})
				if err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					next.Store(math.MaxInt32) // the others stop too
					return
				}
			}
		})
	}
	wg.Wait()
	return sums, failed
}

func sumSpan(ctx context.Context, f io.ReaderAt, from, to int64, buf []byte, sum *[sha256.Size]byte, read func(n int64)) error {
	h := sha256.New()
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := buf[:min(int64(len(buf)), to-from)]
		if _, err := f.ReadAt(part, from); err != nil {
			return err
		}
		h.Write(part)
		from += int64(len(part))
		read(int64(len(part)))
	}
	h.Sum(sum[:0])
	return nil
}
