package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"assay/eval/stat"
	"assay/results"
)

// definition is a term of the method section.
type definition struct {
	Term string
	Text []sentence
}

// method defines every figure of the page, and how it was measured.
func method(in Input) []definition {
	run := in.Contents.Run
	ref := name(run.Protocol.Reference)
	d := []definition{
		{"Variant", []sentence{say("A set of weights made from the same checkpoint: g, n and e in a name are group size, bits of non-expert and of routed-expert weights. %v is the reference that all are compared with; native is the checkpoint's own FP4 and FP8 values, repacked without loss.", ref),
			quantizers(run)}},
		{"Bytes, bits per weight", []sentence{say("Exact tensor bytes of the main model, scales and biases counted; headers, tokenizer and config are not. MB and GB are powers of ten, MiB and GiB powers of two. Bits per weight are 8 × bytes / %v parameters. Read per token: weight bytes that one decoded token reads, without the cache.", integer(run.Model.Parameters))}},
		{"NLL, perplexity", []sentence{say("−ln p of the token that follows, in nats, its mean over scored tokens, and exp of that mean. Both depend on text and tokenizer: compare them within this page.")}},
		{"KL divergence", []sentence{say("D(p‖q) = Σ p · ln(p/q) over the whole vocabulary, p the reference's distribution and q the variant's, in nats; the mean over scored tokens. 0 means the same distribution. “Exactly 0” is said only where it is 0 on every token. Percentiles are of the tokens, each the value of a token.")}},
		{"ΔNLL, ratio", []sentence{say("Mean NLL of the variant less that of %v, paired token by token, and exp of it: the ratio of the perplexities. The difference varies far less than either NLL does.", ref)}},
		{"Top-1 agreement", []sentence{say("The share of scored tokens for which variant and reference rank the same token first.")}},
		{"Protocol", []sentence{protocolText(run.Protocol)}},
		{"Intervals", []sentence{say("%v % intervals from the means of windows, since tokens of one window are not independent: mean ± t · standard error with Student's t on (windows − 1) degrees of freedom. They say how far a figure moves with other windows of the same mix. One window has no interval, and none is invented. Paired differences are taken window by window before their interval is made.", integer(int(100*stat.Level)))}},
		{"Verdict", []sentence{say("A variant is dominated where another has as few bytes and as little mean KL, and less of one; the others are the front. Of a pair it says “not told apart” where the interval of the paired difference in KL includes 0. No correction is made for the number of pairs.")}},
	}
	return append(d, speedMethod(run))
}

// quantizers names the encoders that made the affine variants.
func quantizers(run results.Run) sentence {
	about := map[string]string{
		"mlx-gpu": "mlx-gpu: affine as MLX's Metal kernel makes it, bit for bit (rounds half away from zero); scale and bias in BF16 for each group",
		"mlx-cpu": "mlx-cpu: affine as MLX's CPU code makes it (rounds half to even), with “cpu-” before the name",
		"recode":  "recode: scale and bias as mlx-gpu, then each code the nearest for the stored BF16 pair",
		"search":  "search: scale, bias and codes by a least-squares search over each group; the format and the bytes are the same",
		"lattice": "lattice: scale and bias on the grid of the FP4 weights, exact or refused",
	}
	var rules []string
	seen := map[string]bool{}
	for _, v := range run.Variants {
		if v.Encoder == "" || seen[v.Encoder] {
			continue
		}
		seen[v.Encoder] = true
		for _, name := range strings.Split(v.Encoder, "+") {
			if text := cmp.Or(about[name], name); !slices.Contains(rules, text) {
				rules = append(rules, text)
			}
		}
	}
	if len(rules) == 0 {
		return say("No variant of this run was made by an affine encoder.")
	}
	return say("Encoder %v.", list(texts(rules)))
}

// protocolText says how text became scored tokens.
func protocolText(p results.Protocol) sentence {
	text := say("Protocol %v. A window feeds %v tokens from position 0; files are never joined and windows never cross them.", p.Name, integer(p.Window))
	switch {
	case p.Name == "llama.cpp":
		text = append(text, say(" Of each window only the targets after its middle are scored, as llama.cpp's perplexity does.")...)
	case p.ScoreFrom > 0:
		text = append(text, say(" The first %v of each window are not scored.", plural(p.ScoreFrom, "target"))...)
	default:
		text = append(text, say(" Every next token of a window is scored, the last one being the next window's first.")...)
	}
	if p.Windows > 0 {
		text = append(text, say(" At most %v of each text.", plural(p.Windows, "window"))...)
	}
	if p.BOS {
		text = append(text, say(" Token 0 is fed before each window, unscored.")...)
	}
	if p.KVSim {
		return append(text, say(" Cached keys are rounded to FP8 and the indexer to FP4, as the release does (kv_sim).")...)
	}
	return append(text, say(" The cache is not rounded (no kv_sim).")...)
}

// speedMethod says how speed was measured.
func speedMethod(run results.Run) definition {
	s := run.Speed
	if s == nil {
		return definition{"Speed", []sentence{say("Not measured in this run.")}}
	}
	return definition{"Speed", []sentence{
		say("Prefill of %v, then decode of %v after them, token by token through the cache with the head each time; %v kept after %v discarded, the variants in an order newly shuffled for each repetition (seed %v). The figure is the median, its interval runs from sample to sample (order statistics of the binomial distribution); under 6 repetitions even the widest holds with less than 95 %.",
			plural(s.PrefillTokens, "token"), plural(s.DecodeTokens, "token"), plural(s.Repetitions, "repetition"), integer(s.Discarded), fmt.Sprint(s.Seed)),
		notApple(run),
	}}
}

// notApple says whose speeds these are.
func notApple(run results.Run) sentence {
	return say("Measured on: %v (%v kernels, %v, %v activations). These are not Apple-silicon speeds, and their order need not be that of a GPU.",
		run.Engine.Device, run.Engine.Kernels, plural(run.Engine.Threads, "thread"), run.Engine.Activations)
}

// warnings returns what the reader should know of the ledger, and every warning
// that came with a figure.
func warnings(in Input) []sentence {
	var out []sentence
	c := in.Contents
	if c.Torn {
		out = append(out, say("The ledger ends in the middle of a record: its writer was stopped, or is writing now."))
	}
	if c.Run.Tool.Dirty {
		out = append(out, say("The program was built from a source tree with changes that are not in commit %v.", short(c.Run.Tool.Commit)))
	}
	for _, l := range c.Later {
		if l.Tool != c.Run.Tool {
			out = append(out, say("Part of the ledger was written by another build: version %v, commit %v.", l.Tool.Version, short(l.Tool.Commit)))
		}
	}
	type warned struct {
		text string
		who  []string
	}
	var all []*warned
	byText := map[string]*warned{}
	add := func(who, what string, e stat.Estimate) {
		for _, w := range e.Warnings {
			key := what + ": " + w
			if byText[key] == nil {
				byText[key] = &warned{text: key}
				all = append(all, byText[key])
			}
			byText[key].who = append(byText[key].who, who)
		}
	}
	for _, r := range in.Rows {
		s, n := r.Summary, r.Variant.Name
		add(n, "KL", s.KL)
		add(n, "Perplexity", s.Perplexity)
		add(n, "Ratio", s.Ratio)
		add(n, "Top-1 agreement", s.Top1)
		if c.Run.Speed != nil {
			add(n, "Prefill", r.Prefill)
			add(n, "Decode", r.Decode)
		}
	}
	for _, w := range all {
		if len(w.who) == len(in.Rows) && len(w.who) > 1 {
			out = append(out, say("%v (every variant).", w.text))
		} else {
			out = append(out, say("%v (%v).", w.text, list(names(w.who))))
		}
	}
	return out
}
