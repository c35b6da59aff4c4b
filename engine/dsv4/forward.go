package dsv4

// workspace is the arrays between the operations of a layer, for up to tokens
// tokens at once. Layers share it.
type workspace struct {
	tokens                     int
	u, mix, y                  Array // sublayer input, mHC mixes, sublayer output
	qr, q, kv, o, z            Array // attention
	values, gates              Array // compressor
	indexQ, indexW, indexPicks Array
	picks, weights             Array // router
	v                          Array // final hidden state
}

// sizes lists the elements a token of each array, float32 first.
func workspaceSizes(c *Config) (floats, ints []int) {
	n := c.HCMult
	wide := 2 * max(c.HeadDim, c.IndexHeadDim)
	heads := c.NumAttentionHeads * c.HeadDim
	return []int{
			c.HiddenSize, n + n*n, c.HiddenSize,
			c.QLoraRank, heads, c.HeadDim, heads, c.OGroups * c.OLoraRank,
			wide, wide, c.IndexNHeads * c.IndexHeadDim, c.IndexNHeads,
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
		&w.values, &w.gates, &w.indexQ, &w.indexW, &w.weights, &w.v} {
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
		w.indexQ, w.indexW, w.weights, w.v, w.indexPicks, w.picks} {
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
	rope := l.core.Rope
	ops.Linear(b, l.wqA, ws.u, ws.qr)
	ops.Norm(b, l.qNorm, ws.qr)
	ops.Linear(b, l.wqB, ws.qr, ws.q)
	ops.Queries(b, rope, ws.q)
	ops.Linear(b, l.wkv, ws.u, ws.kv)
	ops.Keys(b, l.kvNorm, rope, ws.kv)

	var picks Array
	if l.main != nil {
		compress(ops, l.main, ws, b, func(s *LayerState) *Pool { return s.Main })
	}
	if l.index != nil {
		compress(ops, l.index, ws, b, func(s *LayerState) *Pool { return s.Index })
		ops.Linear(b, l.indexWqB, ws.qr, ws.indexQ)
		ops.IndexQueries(b, rope, ws.indexQ)
		ops.Linear(b, l.indexProj, ws.u, ws.indexW)
		ops.Select(b, ws.indexQ, ws.indexW, ws.indexPicks)
		picks = ws.indexPicks
	}
	ops.Attend(b, l.core, ws.q, ws.kv, picks, ws.o)
	ops.GroupLinear(b, l.woA, c.OGroups, ws.o, ws.z)
	ops.Linear(b, l.woB, ws.z, ws.y)
}

func compress(ops Ops, m *compressor, ws *workspace, b *Batch, pool func(*LayerState) *Pool) {
	ops.Linear(b, m.wkv, ws.u, ws.values)
	ops.Linear(b, m.wgate, ws.u, ws.gates)
	ops.Compress(b, &m.Compressor, pool, ws.values, ws.gates)
}
