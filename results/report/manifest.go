package report

import (
	"slices"
	"strconv"
	"time"

	"assay/results"
)

// manifestTable is a table of what made the figures.
type manifestTable struct {
	Title string
	numbersTable
}

// manifest names all that made the figures, from the ledger.
func manifest(c *results.Contents) []manifestTable {
	run := c.Run
	p := run.Protocol
	pairs := func(title string, kv ...string) manifestTable {
		t := manifestTable{Title: title}
		for i := 0; i < len(kv); i += 2 {
			t.Rows = append(t.Rows, []string{kv[i], kv[i+1]})
		}
		return t
	}
	out := []manifestTable{
		pairs("Program and run", "tool", "assay "+run.Tool.Version, "commit", commit(run.Tool), "ledger schema", integer(run.Schema),
			"run begun", run.Made.UTC().Format(time.RFC3339), "records", plural(len(c.Scores), "window score")+", "+plural(len(c.Timings), "timing")),
		pairs("Model", "name", run.Model.Name, "digest", run.Model.Digest, "parameters", integer(run.Model.Parameters),
			"layers", integer(run.Model.Layers), "cache", caches(run.Model.CacheBytes)),
		pairs("Protocol", "name", p.Name, "reference", p.Reference, "window", plural(p.Window, "token"), "windows of each text", limit(p.Windows),
			"score from", integer(p.ScoreFrom), "bos", strconv.FormatBool(p.BOS), "kv_sim", strconv.FormatBool(p.KVSim)),
		pairs("Engine and machine", "engine", run.Engine.Name, "device", run.Engine.Device, "kernels", run.Engine.Kernels, "activations", run.Engine.Activations,
			"threads", integer(run.Engine.Threads), "system", run.Machine.OS+"/"+run.Machine.Arch, "processor", run.Machine.CPU,
			"cores", integer(run.Machine.Cores), "memory", binary(run.Machine.Memory)),
	}
	for _, l := range c.Later {
		out[0].Rows = append(out[0].Rows, []string{"taken up", l.Made.UTC().Format(time.RFC3339) + " by assay " + l.Tool.Version + ", commit " + commit(l.Tool)})
	}
	if s := run.Speed; s != nil {
		out = append(out, pairs("Speed", "prefill", plural(s.PrefillTokens, "token"), "decode", plural(s.DecodeTokens, "token"),
			"repetitions kept", integer(s.Repetitions), "discarded before", integer(s.Discarded), "seed of the orders", strconv.FormatUint(s.Seed, 10)))
	}
	return append(out, textsTable(run), variantsTable(run))
}

func textsTable(run results.Run) manifestTable {
	t := manifestTable{Title: "Texts", numbersTable: numbersTable{
		Head: []string{"text", "corpus", "bytes", "tokens", "windows", "unused tail (tokens)", "SHA-256", "digest of the windows"}}}
	for _, x := range run.Texts {
		t.Rows = append(t.Rows, []string{x.Name, x.Corpus, integer(x.Bytes), integer(x.Tokens), integer(x.Count), integer(x.Unused), x.Digest, x.Windows})
	}
	return t
}

func variantsTable(run results.Run) manifestTable {
	t := manifestTable{Title: "Variants", numbersTable: numbersTable{
		Head: []string{"variant", "encoder", "group", "non-expert bits", "expert bits", "bytes, main model", "bytes, with MTP", "bits per weight", "read per token", "digest"}}}
	affine := func(v results.Variant, n int) string {
		if v.GroupSize == 0 {
			return "none"
		}
		return integer(n)
	}
	for _, v := range run.Variants {
		rule := v.Encoder
		if rule == "" {
			rule = "none"
		}
		t.Rows = append(t.Rows, []string{v.Name, rule, affine(v, v.GroupSize), affine(v, v.NonExpertBits), affine(v, v.ExpertBits),
			integer(v.BytesMain), integer(v.BytesTotal), number(v.BitsPerWeight, 6), integer(v.BytesPerToken), v.Digest})
	}
	return t
}

func commit(t results.Tool) string {
	if t.Dirty {
		return t.Commit + ", with changes"
	}
	return t.Commit
}

func limit(n int) string {
	if n == 0 {
		return "all"
	}
	return "at most " + integer(n)
}

// caches lists the cache by depth, the shallowest first.
func caches(bytes map[string]int64) string {
	type entry struct {
		depth int
		text  string
	}
	var all []entry
	for k, n := range bytes {
		if d, err := strconv.Atoi(k); err == nil {
			all = append(all, entry{d, decimal(n) + " at " + plural(d, "token")})
		}
	}
	if len(all) == 0 {
		return "not recorded"
	}
	slices.SortFunc(all, func(a, b entry) int { return a.depth - b.depth })
	out := make([]string, len(all))
	for i, e := range all {
		out[i] = e.text
	}
	return list(texts(out)).String()
}
