package bundle

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"assay/engine/checkpoint"
	"assay/engine/dsv4"
	"assay/engine/variant"
)

// BenchmarkBuild builds bundles of the reference model, or of the checkpoint in
// $ASSAY_BENCH_SOURCE, and reports the time over that of reading the source and
// writing as many bytes as the bundle has, from and to the same disk ("x-disk"),
// with the files out of the page cache before each. For a checkpoint of gigabytes:
//
//	ASSAY_BENCH_SOURCE=DIR go test -run '^$' -bench Build -benchtime 1x ./engine/bundle
func BenchmarkBuild(b *testing.B) {
	source := os.Getenv("ASSAY_BENCH_SOURCE")
	if source == "" {
		source = filepath.Join("..", "..", "refmodel")
	}
	for _, name := range []string{"native", "g32-n8-e4", "cpu-g64-n6-e3"} {
		b.Run("recipe="+name, func(b *testing.B) { benchmarkBuild(b, source, name) })
	}
}

func benchmarkBuild(b *testing.B, source, name string) {
	var disk, build time.Duration
	var size, weights int64
	for b.Loop() {
		dir := b.TempDir()
		job, ck := benchmarkJob(b, source, name, filepath.Join(dir, "bundle"))
		size = job.Layout.Bytes()
		forget(b, source)
		start := time.Now()
		read(b, source)
		write(b, filepath.Join(dir, "plain"), size)
		disk += time.Since(start)
		forget(b, source)
		start = time.Now()
		if err := job.Build(b.Context()); err != nil {
			b.Fatal(err)
		}
		build += time.Since(start)
		for _, m := range job.Layout.Modules {
			for _, s := range m.Steps {
				weights += s.Elements()
			}
		}
		ck.Close()
		os.RemoveAll(dir)
	}
	b.ReportMetric(build.Seconds()/disk.Seconds(), "x-disk")
	b.ReportMetric(float64(weights)/1e6/build.Seconds(), "Mweights/s")
	b.ReportMetric(float64(size)*float64(b.N)/1e6/build.Seconds(), "MB-written/s")
}

func benchmarkJob(b *testing.B, source, name, dir string) (*Job, *checkpoint.Checkpoint) {
	b.Helper()
	ck, err := checkpoint.Open(source)
	if err != nil {
		b.Fatal(err)
	}
	src, err := dsv4.Source(ck, ck.Fingerprint)
	if err != nil {
		b.Fatal(err)
	}
	r, err := variant.Parse(name)
	if err != nil {
		b.Fatal(err)
	}
	steps, err := r.Plan(src.Present())
	if err != nil {
		b.Fatal(err)
	}
	l, err := NewLayout(steps, Options{Runtime: Runtimes()[0]})
	if err != nil {
		b.Fatal(err)
	}
	return &Job{Dir: dir, Layout: l, Weights: variant.NewMaker(src.Reference, steps, name), Key: name,
		Files: func(map[string]string) ([]File, error) { return nil, nil }}, ck
}

func shards(b *testing.B, dir string) []string {
	b.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "model*.safetensors"))
	if err != nil || len(found) == 0 {
		b.Fatalf("no shards in %s: %v", dir, err)
	}
	return found
}

// forget asks the system to drop a folder's shards from its page cache.
func forget(b *testing.B, dir string) {
	b.Helper()
	for _, name := range shards(b, dir) {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func read(b *testing.B, dir string) {
	b.Helper()
	buf := make([]byte, 4<<20)
	for _, name := range shards(b, dir) {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// write writes size bytes and makes them durable.
func write(b *testing.B, path string, size int64) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	buf := []byte(strings.Repeat("0123456789abcdef", 1<<18))
	for left := size; left > 0; left -= int64(len(buf)) {
		if _, err := f.Write(buf[:min(left, int64(len(buf)))]); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	os.Remove(path)
}
