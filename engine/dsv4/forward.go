package dsv4

// workspace is the arrays between the operations of a layer, for up to tokens
// tokens at once. Layers share it.
type workspace struct {
	tokens                     int
	u, mix, y                  Array // sublayer input, mHC mixes, sublayer output
	qr, q, kv, o, z            Array // attention
	values, gates              Array // compressor
	indexValues, indexGates    Array // the indexer's compressor
	indexQ, indexW, indexPicks Array
	picks, weights             Array // router
	v                          Array // final hidden state
}

// sizes lists the elements a token of each array, float32 first.
func workspaceSizes(c *Config) (floats, ints []int) {
	n := c.HCMult
	wide, indexed := 2*c.HeadDim, 2*c.IndexHeadDim // channels where blocks overlap
	heads := c.NumAttentionHeads * c.HeadDim
	return []int{
			c.HiddenSize, n + n*n, c.HiddenSize,
			c.QLoraRank, heads, c.HeadDim, heads, c.OGroups * c.OLoraRank,
			wide, wide, indexed, indexed, c.IndexNHeads * c.IndexHeadDim, c.IndexNHeads,
			c.NumExpertsPerTok, c.HiddenSize,
		}, []int{
			c.IndexTopK, c.NumExpertsPerTok,
		}
}

func newWorkspace(mem Memory, c *Config, tokens int) (*workspace, error) {
	w := &workspace{tokens: tokens}
	floats, ints := workspaceSizes(c)
	var err error
	for i, dst := range []*Array{&w.u, &w.mix, &w.y, &w.qr, &w.q, &w.kv, &w.o, &w.z,
		&w.values, &w.gates, &w.indexValues, &w.indexGates, &w.indexQ, &w.indexW, &w.weights, &w.v} {
		if *dst, err = mem.NewArray(tokens * floats[i]); err != nil {
			return nil, err
		}
	}
	for i, dst := range []*Array{&w.indexPicks, &w.picks} {
		if *dst, err = mem.NewInts(tokens * ints[i]); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *workspace) free(mem Memory) {
	for _, a := range []Array{w.u, w.mix, w.y, w.qr, w.q, w.kv, w.o, w.z, w.values, w.gates,
		w.indexValues, w.indexGates, w.indexQ, w.indexW, w.weights, w.v, w.indexPicks, w.picks} {
		if a != nil {
			mem.Free(a)
		}
	}
}

// WorkspaceBytes returns the bytes of the arrays between operations for a
// batch of tokens, on a backend whose elements have 4 bytes.
func WorkspaceBytes(c *Config, tokens int) int64 {
	floats, ints := workspaceSizes(c)
	var n int64
	for _, s := range append(floats, ints...) {
		n += int64(s)
	}
	return n * int64(tokens) * 4
}

// run takes the streams x [T, N, D] of a batch, whose spans hold this layer's
// states, through the attention sublayer.
func (l *attentionPart) run(ops Ops, c *Config, ws *workspace, b *Batch, x Array) {
	ops.HyperIn(b, l.hc, x, ws.u, ws.mix)
	l.attend(ops, c, ws, b)
	ops.HyperOut(b, ws.mix, ws.y, x)
}

// run takes the streams x [T, N, D] of a batch through the feed-forward sublayer.
func (l *feedPart) run(ops Ops, ws *workspace, b *Batch, x Array) {
	ops.HyperIn(b, l.hc, x, ws.u, ws.mix)
	ops.Route(b, l.router, ws.u, ws.picks, ws.weights)
	ops.Experts(b, l.experts, ws.u, ws.picks, ws.weights, ws.y)
	ops.HyperOut(b, ws.mix, ws.y, x)
}

// attend is the attention itself, from u to y.
func (l *attentionPart) attend(ops Ops, c *Config, ws *workspace, b *Batch) {
	in := []Product{{l.wqA, ws.qr}, {l.wkv, ws.kv}}
	if l.main != nil {
		in = append(in, Product{l.main.wkv, ws.values}, Product{l.main.wgate, ws.gates})
	}
	if l.index != nil {
		in = append(in, Product{l.index.wkv, ws.indexValues}, Product{l.index.wgate, ws.indexGates}, Product{l.indexProj, ws.indexW})
	}
	ops.Linear(b, ws.u, in...)
	ops.Latents(b, l.qNorm, ws.qr, l.kvNorm, l.core.Rope, ws.kv)
	queries := []Product{{l.wqB, ws.q}}
	if l.index != nil {
		queries = append(queries, Product{l.indexWqB, ws.indexQ})
	}
	ops.Linear(b, ws.qr, queries...)

	var picks Array
	if l.main != nil {
		ops.Compress(b, &l.main.Compressor, func(s *LayerState) *Pool { return s.Main }, ws.values, ws.gates)
	}
	if l.index != nil {
		ops.Compress(b, &l.index.Compressor, func(s *LayerState) *Pool { return s.Index }, ws.indexValues, ws.indexGates)
		ops.Select(b, l.core.Rope, ws.indexQ, ws.indexW, ws.indexPicks)
		picks = ws.indexPicks
	}
	ops.Attend(b, l.core, ws.q, ws.kv, picks, ws.o)
	ops.GroupLinear(b, l.woA, c.OGroups, ws.o, ws.z)
	ops.Linear(b, ws.z, Product{l.woB, ws.y})
}
