package bundle

import (
	"testing"

	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
	"assay/engine/tensor"
	"assay/engine/variant"
)

func tinyParams(t *testing.T) []tensor.Param {
	t.Helper()
	c, err := dsv4.ParseConfig(checkpointtest.TinyConfig())
	if err != nil {
		t.Fatal(err)
	}
	return dsv4.Params(c)
}

// tiny is the tiny model with seeded weights, MTP block included.
func tiny(t *testing.T) (*checkpoint.Checkpoint, variant.Source) {
	t.Helper()
	tensors, err := checkpointtest.Tensors(tinyParams(t), 5)
	if err != nil {
		t.Fatal(err)
	}
	ck, err := checkpointtest.Checkpoint(checkpointtest.TinyConfig(), tensors)
	if err != nil {
		t.Fatal(err)
	}
	src, err := dsv4.Source(ck, ck.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return ck, src
}

func recipe(t *testing.T, name string) variant.Recipe {
	t.Helper()
	r, err := variant.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// jobOf plans a bundle of the tiny model.
func jobOf(t *testing.T, src variant.Source, dir, name string, o Options) *Job {
	t.Helper()
	r := recipe(t, name)
	steps, err := r.Plan(src.Present())
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLayout(steps, o)
	if err != nil {
		t.Fatal(err)
	}
	return &Job{
		Dir: dir, Layout: l, Weights: variant.NewMaker(src.Reference, steps, name), Key: src.Digest + name, ShardBytes: 1 << 20,
		Files: func(map[string]string) ([]File, error) {
			config, err := l.Config(src.Config)
			return []File{l.Index(l.Files(1 << 20)), {"config.json", config}}, err
		},
	}
}

func runtimeNamed(t *testing.T, name string) *Runtime {
	t.Helper()
	r, err := RuntimeOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
