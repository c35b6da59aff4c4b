package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Reading is how long files took to be read from end to end.
type Reading struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Cold    bool    `json:"cache_dropped"` // the system was asked to drop what it had cached of them
}

// Rate returns bytes a second.
func (r Reading) Rate() float64 { return float64(r.Bytes) / r.Seconds }

// ReadFiles reads files one after the other, from a cold cache where the system
// can be asked for one. They are cached afterwards as far as memory goes.
func ReadFiles(ctx context.Context, paths []string) (Reading, error) {
	out := Reading{Cold: true}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return out, fmt.Errorf("bench: %w", err)
		}
		files = append(files, f)
		out.Cold = forget(f) && out.Cold
	}
	room := make([]byte, 4<<20)
	start := time.Now()
	for _, f := range files {
		for {
			if err := ctx.Err(); err != nil {
				return out, err
			}
			n, err := f.Read(room)
			out.Bytes += int64(n)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return out, fmt.Errorf("bench: %w", err)
			}
		}
	}
	out.Seconds = time.Since(start).Seconds()
	return out, nil
}
