package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/engine/variant"
	"assay/results"
)

// cacheDepths are the depths, in tokens, at which plans count the KV cache.
var cacheDepths = []int{8192, 131072}

// cacheElement is the bytes of a cached element where memory is planned: BF16.
const cacheElement = 2

// describe makes the record of all that makes a run's figures.
func (s *session) describe(c *cut, ref *variant.Variant, others []*variant.Variant) results.Run {
	o, d := s.opt, s.backend.Device()
	r := results.Run{
		Schema: results.SchemaVersion, Made: time.Now().UTC(), Tool: tool(),
		Model: results.Model{Name: s.model.name, Digest: s.model.source.Digest,
			Parameters: variant.Sum(ref.Plan()).Parameters, Layers: s.model.config.NumHiddenLayers,
			CacheBytes: cacheBytes(s.model.config), ScratchBytes: dsv4.WorkspaceBytes(s.model.config, planChunk)},
		Protocol: results.Protocol{Name: "assay", Window: o.protocol.Window, Windows: o.protocol.Windows,
			ScoreFrom: o.protocol.ScoreFrom, BOS: o.protocol.BOS, KVSim: o.kvSim, Reference: ref.Name()},
		Texts:   c.texts,
		Engine:  results.Engine{Name: d.Engine, Device: d.Name, Kernels: d.Kernels, Activations: d.Activations, Threads: d.Threads, System: d.System, Source: d.Source},
		Machine: machine(),
	}
	if o.protocol.LlamaCPP {
		r.Protocol.Name = "llama.cpp"
	}
	r.Variants = append(r.Variants, describeVariant(ref))
	for _, v := range others {
		r.Variants = append(r.Variants, describeVariant(v))
	}
	if o.speed != nil {
		r.Speed = &results.Speed{PrefillTokens: o.speed.PrefillTokens, DecodeTokens: o.speed.DecodeTokens,
			Repetitions: o.speed.Repetitions, Discarded: o.speed.Discarded, Seed: o.speed.Seed}
	}
	return r
}

func describeVariant(v *variant.Variant) results.Variant {
	t := variant.Sum(v.Plan())
	return results.Variant{
		Name: v.Name(), Encoder: v.Encoder(), Digest: v.Digest(), GroupSize: t.GroupSize, NonExpertBits: t.OtherBits, ExpertBits: t.ExpertBits,
		BytesMain: t.BytesMain, BytesTotal: t.BytesTotal, BitsPerWeight: t.BitsPerWeight(), BytesPerToken: t.BytesPerToken,
	}
}

func cacheBytes(c *dsv4.Config) map[string]int64 {
	out := map[string]int64{}
	for _, d := range cacheDepths {
		out[strconv.Itoa(d)] = dsv4.StateBytes(c, d, cacheElement)
	}
	return out
}

// engineKey names what decides a hidden state's bits.
func engineKey(r results.Run) string {
	return fmt.Sprintf("%s %s %s %s %s %s kv_sim=%v, assay %s %s dirty=%v", r.Engine.Name, r.Engine.Device, r.Engine.Kernels, r.Engine.System, r.Engine.Source, r.Engine.Activations,
		r.Protocol.KVSim, r.Tool.Version, r.Tool.Commit, r.Tool.Dirty)
}

func machine() results.Machine {
	return results.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPU: cpu.Processor(), Cores: runtime.NumCPU(), Memory: cpu.MachineMemory()}
}

// version is assay's own.
const version = "0.1.0"

func tool() results.Tool {
	t := results.Tool{Version: version, Commit: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return t
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			t.Commit = s.Value
		case "vcs.modified":
			t.Dirty = s.Value == "true"
		}
	}
	return t
}
