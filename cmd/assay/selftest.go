package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assay/datasets"
	"assay/engine"
	"assay/engine/checkpoint"
	"assay/engine/cpu"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/metal"
	"assay/metal/host"
	"assay/metal/kernels"
	"assay/metal/suite"
)

// passed is what a self-test leaves where it passed: auto chooses metal only on
// the same system with the same kernels.
type passed struct {
	System string    `json:"system"` // name and version of what compiles and runs
	Device string    `json:"device"`
	Source string    `json:"source"`
	Made   time.Time `json:"made"`
}

func passedFile() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "assay", "selftest.json"), err
}

// selfTested errs unless the Metal engine's self-test passed on this system with
// these kernels.
func selfTested() error {
	const how = "run assay engines --self-test"
	file, err := passedFile()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the Metal engine's self-test has not run here: %s", how)
	}
	var p passed
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("%s is damaged: %s", file, how)
	}
	dev, err := openDevice("metal", 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	i := dev.Info()
	if p.System != i.System || p.Device != i.Name || p.Source != kernels.Digest() {
		return fmt.Errorf("the Metal engine's self-test passed on %s with other kernels or another system: %s", p.System, how)
	}
	return nil
}

// testStep is one step of a self-test, for people and as JSON.
type testStep struct {
	Name    string   `json:"name"`
	Says    string   `json:"says"`
	Seconds float64  `json:"seconds"`
	Failed  []string `json:"failed,omitempty"`
}

// verdict is a self-test's outcome.
type verdict struct {
	Engine string     `json:"engine"`
	Device string     `json:"device"`
	System string     `json:"system"`
	Source string     `json:"source"`
	Steps  []testStep `json:"steps"`
	Passed bool       `json:"passed"`
}

// selfTest tests the engine that o names and prints one verdict.
func selfTest(c *cobra.Command, o *engineOptions, asJSON bool) error {
	dev, err := openDevice(o.name, o.threads)
	if err != nil {
		return err
	}
	defer dev.Close()
	i := dev.Info()
	v := verdict{Engine: o.name, Device: i.Name, System: i.System, Source: kernels.Digest(), Passed: true}
	say := c.OutOrStdout()
	if asJSON {
		say = io.Discard
	}
	fmt.Fprintf(say, "%s, %s, kernels %s\n", i.Name, i.System, v.Source)
	for _, s := range []struct {
		name string
		run  func(context.Context, host.Device) (string, []string)
	}{
		{"compile every kernel", compileAll},
		{"limits", tryLimits},
		{"every operation against its plain twin", runSuite},
		{"the reference model against the CPU engine", runReference},
	} {
		start := time.Now()
		says, failed := s.run(c.Context(), dev)
		if err := c.Context().Err(); err != nil {
			return err
		}
		step := testStep{s.name, says, time.Since(start).Seconds(), failed}
		v.Steps, v.Passed = append(v.Steps, step), v.Passed && len(failed) == 0
		fmt.Fprintf(say, "%s: %s (%.1f s)\n", step.Name, step.Says, step.Seconds)
		for _, f := range failed {
			fmt.Fprintf(say, "  FAILED %s\n", f)
		}
	}
	if err := v.keep(); err != nil {
		return err
	}
	if asJSON {
		err = printJSON(c.OutOrStdout(), v)
	} else {
		fmt.Fprintln(say, v.sentence())
	}
	if err == nil && !v.Passed {
		err = errors.New("the self-test failed")
	}
	return err
}

// sentence is the verdict in one line.
func (v verdict) sentence() string {
	if !v.Passed {
		return "verdict: do not use this engine here; the failures above say why"
	}
	if v.Engine != "metal" {
		return fmt.Sprintf("verdict: the Metal kernels are right on %s, which is no Apple GPU", v.Engine)
	}
	return "verdict: the Metal engine is right on this Mac, and --engine auto takes it from now on.\n" +
		"Once more under Apple's own checks: MTL_SHADER_VALIDATION=1 MTL_DEBUG_LAYER=1 assay engines --self-test"
}

// keep leaves a Mac's verdict for auto.
func (v verdict) keep() error {
	if v.Engine != "metal" {
		return nil
	}
	file, err := passedFile()
	if err != nil {
		return err
	}
	if !v.Passed {
		if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(passed{v.System, v.Device, v.Source, time.Now().UTC()})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func compileAll(ctx context.Context, dev host.Device) (string, []string) {
	all, err := suite.Instances()
	if err != nil {
		return "", []string{err.Error()}
	}
	if err := dev.Compile(ctx, kernels.Program(all)); err != nil {
		return fmt.Sprintf("%d instantiations", len(all)), []string{err.Error()}
	}
	return fmt.Sprintf("%d instantiations", len(all)), nil
}

// tryLimits makes a large buffer, writes its ends and reads them.
func tryLimits(_ context.Context, dev host.Device) (string, []string) {
	l := dev.Info().Limits
	n := min(l.MaxBuffer, 1<<30)
	says := fmt.Sprintf("buffers of up to %s, %d threads and %d bytes of memory a threadgroup", size(l.MaxBuffer), l.MaxThreads, l.Threadgroup)
	b, err := dev.NewBuffer(n)
	if err != nil {
		return says, []string{err.Error()}
	}
	defer b.Free()
	var failed []string
	for _, at := range []int64{0, n - 8} {
		want, got := []byte("12345678"), make([]byte, 8)
		if err := errors.Join(b.Write(at, want), b.Read(at, got)); err != nil || string(got) != string(want) {
			failed = append(failed, fmt.Sprintf("a buffer of %d bytes at %d: %q, %v", n, at, got, err))
		}
	}
	if l.Threadgroup < 32<<10 || l.MaxThreads < 1024 {
		failed = append(failed, "the kernels need 32 KiB and 1024 threads a threadgroup")
	}
	return says, failed
}

func runSuite(ctx context.Context, dev host.Device) (string, []string) {
	plain, err := cpu.New(cpu.Options{Kernels: "plain"})
	if err != nil {
		return "", []string{err.Error()}
	}
	defer plain.Close()
	var failed []string
	n := 0
	for _, a := range metal.Activations {
		m, err := metal.New(dev, metal.Options{Activations: a})
		if err != nil {
			return "", []string{err.Error()}
		}
		for _, c := range suite.Cases() {
			if ctx.Err() != nil {
				return "", nil
			}
			n++
			if err := suite.Run(c, m, plain); err != nil {
				failed = append(failed, a+": "+err.Error())
			}
		}
	}
	return fmt.Sprintf("%d cases", n), failed
}

// What the reference model is tested with: enough of prefill that its indexer
// chooses, then decode.
const (
	testPrefill = 320
	testDecode  = 32
)

// testBounds are the mean KL divergences from the CPU engine that each
// activation may have, in nats.
var testBounds = map[string]float64{"f32": 1e-5, "f16": 5e-5, "bf16": 1e-3}

// testVariants are the variants that the reference model is tested as.
const testVariants = "native,g32-n8-e4,g64-n6-e3"

func runReference(ctx context.Context, dev host.Device) (string, []string) {
	m, err := openModel(referenceModel, (*checkpoint.Checkpoint).Identity)
	if err != nil {
		return "", []string{err.Error()}
	}
	defer m.close()
	toks, err := testTokens(m)
	if err != nil {
		return "", []string{err.Error()}
	}
	ref, others, err := m.variants(testVariants)
	if err != nil {
		return "", []string{err.Error()}
	}
	c, err := cpu.New(cpu.Options{})
	if err != nil {
		return "", []string{err.Error()}
	}
	defer c.Close()
	var says, failed []string
	for _, v := range append([]*variant.Variant{ref}, others...) {
		want, err := logProbs(ctx, c, v, toks)
		if err != nil {
			return "", []string{err.Error()}
		}
		if err := suite.CheckStored(v.Name(), toks, want); err != nil {
			failed = append(failed, "the CPU engine: "+err.Error())
		}
		for _, a := range metal.Activations {
			b, err := metal.New(dev, metal.Options{Activations: a})
			if err != nil {
				return "", []string{err.Error()}
			}
			got, err := logProbs(ctx, b, v, toks)
			if err != nil {
				failed = append(failed, fmt.Sprintf("%s, %s: %v", v.Name(), a, err))
				continue
			}
			kl := meanKL(want, got)
			says = append(says, fmt.Sprintf("%s %s %.1e", v.Name(), a, kl))
			if !(kl <= testBounds[a]) {
				failed = append(failed, fmt.Sprintf("%s, %s: mean KL to the CPU engine is %.2e nats, want at most %.0e", v.Name(), a, kl, testBounds[a]))
			}
		}
	}
	return fmt.Sprintf("%d tokens of prefill, %d of decode; mean KL in nats: %s", testPrefill, testDecode, strings.Join(says, ", ")), failed
}

// testTokens are the first tokens of the held-out texts.
func testTokens(m *model) ([]token.ID, error) {
	texts, err := datasets.Heldout()
	if err != nil {
		return nil, err
	}
	tok, err := m.tokenizer()
	if err != nil {
		return nil, err
	}
	defer tok.Close()
	ids, err := tok.Encode(string(texts[0].Data))
	if err != nil || len(ids) < testPrefill+testDecode {
		return nil, errors.Join(err, fmt.Errorf("%s has %d tokens", texts[0].Name, len(ids)))
	}
	return ids[:testPrefill+testDecode], nil
}

// logProbs are the distributions after each of toks: a prefill, then decode.
func logProbs(ctx context.Context, b engine.Backend, v *variant.Variant, toks []token.ID) (out [][]float32, err error) {
	m, err := b.Load(ctx, v, len(toks))
	if err != nil {
		return nil, err
	}
	defer m.Close()
	s, err := m.NewSession()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	keep := func(p engine.LogProbs) error {
		out = append(out, append([]float32(nil), p...))
		return nil
	}
	if err := s.Prefill(ctx, toks[:testPrefill], keep); err != nil {
		return nil, err
	}
	for _, t := range toks[testPrefill:] {
		p, err := s.Decode(ctx, t)
		if err != nil {
			return nil, err
		}
		keep(p)
	}
	return out, nil
}

// meanKL is the mean of D(p‖q) over positions.
func meanKL(p, q [][]float32) float64 {
	var sum float64
	for i := range p {
		for j, l := range p[i] {
			sum += math.Exp(float64(l)) * (float64(l) - float64(q[i][j]))
		}
	}
	return sum / float64(len(p))
}
