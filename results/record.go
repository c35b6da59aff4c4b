// Package results is the record of a sweep: an append-only ledger of what was
// asked, what made the figures, and every figure that was measured. It computes
// nothing that cannot be computed again from the ledger, and it leaves the page
// to results/report.
package results

import "time"

// SchemaVersion is the version of the records that this code writes.
//
//	1  first version
//	2  engine.system and engine.source added
const SchemaVersion = 2

// Run is the ledger's first record: all that made the figures that follow.
// Two runs may share a ledger only if they differ in nothing but Made and Tool.
type Run struct {
	Schema   int       `json:"schema"`
	Made     time.Time `json:"made"`
	Tool     Tool      `json:"tool"`
	Model    Model     `json:"model"`
	Protocol Protocol  `json:"protocol"`
	Texts    []Text    `json:"texts"`
	Variants []Variant `json:"variants"` // in table order; the reference first
	Engine   Engine    `json:"engine"`
	Machine  Machine   `json:"machine"`
	Speed    *Speed    `json:"speed,omitempty"` // nil with --no-speed
}

// Tool names the program that wrote the record.
type Tool struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // of the source, or "unknown"
	Dirty   bool   `json:"dirty"`
}

// Model names the checkpoint that all variants are made from.
type Model struct {
	Name       string `json:"name"`       // "reference" or the folder's base name
	Digest     string `json:"digest"`     // SHA-256 over tensors and config; over 256 MB "fingerprint " and one of samples
	Parameters int64  `json:"parameters"` // of the main model, without token tables
	Layers     int    `json:"layers"`
	// The memory that one sequence's cache takes, for the verdict by machine.
	CacheBytes map[string]int64 `json:"cache_bytes,omitempty"` // by depth in tokens, such as "8192"
	// The memory between operations that a prefill takes beside weights and cache.
	ScratchBytes int64 `json:"scratch_bytes,omitempty"`
}

// Protocol is how text becomes scored tokens.
type Protocol struct {
	Name      string `json:"name"`       // "assay" or "llama.cpp"
	Window    int    `json:"window"`     // tokens fed at once, from position 0
	Windows   int    `json:"windows"`    // at most this many of each text; 0 is all
	ScoreFrom int    `json:"score_from"` // targets left out at each window's start
	BOS       bool   `json:"bos"`
	KVSim     bool   `json:"kv_sim"`
	Reference string `json:"reference"` // "bf16"
}

// Text is one text of the corpus.
type Text struct {
	Name    string `json:"name"`   // stratum, or the file's base name
	Corpus  string `json:"corpus"` // "heldout", "wikitext-2-raw", or "file"
	Digest  string `json:"digest"` // SHA-256 of the text's bytes
	Windows string `json:"windows_digest"`
	Bytes   int64  `json:"bytes"`
	Tokens  int    `json:"tokens"`
	Count   int    `json:"windows"` // windows scored
	Unused  int    `json:"unused"`  // tokens after the last window
}

// Variant is one row: its recipe and what it costs.
type Variant struct {
	Name          string  `json:"name"`   // "bf16", "native", "g32-n8-e4", "search-g32-n8-e4", a recipe file's or a bundle's
	Encoder       string  `json:"rule"`   // affine encoders, "+" between: "mlx-gpu", "search"; "" where nothing is quantized or nobody knows
	Digest        string  `json:"digest"` // of recipe and source
	GroupSize     int     `json:"group"`  // 0 where not affine
	NonExpertBits int     `json:"n_bits"` // 16 is left as bf16; 0 where not affine
	ExpertBits    int     `json:"e_bits"` //
	BytesMain     int64   `json:"bytes_main"`
	BytesTotal    int64   `json:"bytes_total"`
	BitsPerWeight float64 `json:"bits_per_weight"`
	BytesPerToken int64   `json:"bytes_per_token"`
}

// Engine is what ran the model.
type Engine struct {
	Name        string `json:"name"`        // "cpu"
	Device      string `json:"device"`      // such as "CPU engine, AMD EPYC"
	Kernels     string `json:"kernels"`     // such as "avx512"
	Activations string `json:"activations"` // "f32"
	Threads     int    `json:"threads"`
	// What compiled and ran the kernels, and the digest of their source, where
	// they are not the program's own.
	System string `json:"system,omitempty"`
	Source string `json:"source,omitempty"`
}

// Machine is where it ran.
type Machine struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_bytes"`
}

// Speed is how speed was measured.
type Speed struct {
	PrefillTokens int    `json:"prefill_tokens"`
	DecodeTokens  int    `json:"decode_tokens"`
	Repetitions   int    `json:"repetitions"` // kept
	Discarded     int    `json:"discarded"`   // before them
	Seed          uint64 `json:"seed"`        // of the orders
}

// Score is one variant on one window.
type Score struct {
	Variant string    `json:"variant"`
	Text    string    `json:"text"`
	Window  int       `json:"window"`
	Tokens  int       `json:"tokens"`
	NLL     Floats    `json:"nll"`  // nats, one a scored token
	KL      Floats    `json:"kl"`   // nats, likewise
	Top1    Bits      `json:"top1"` // likewise
	Made    time.Time `json:"made"`
}

// Timing is one repetition of one variant.
type Timing struct {
	Variant        string    `json:"variant"`
	Repetition     int       `json:"repetition"` // from 0; the first Speed.Discarded are not counted
	Order          int       `json:"order"`      // place in that repetition's order
	PrefillSeconds float64   `json:"prefill_seconds"`
	DecodeSeconds  []float64 `json:"decode_seconds"` // one a token
	Made           time.Time `json:"made"`
}
