package kernels

// Sizes are what the kernels that are no matrix products are instantiated for.
type Sizes struct{ Streams, Heads, HeadDim, IndexHeads, IndexDim, Experts int }

// Model returns the kernels of all operations that are no matrix products, for
// sizes, cached elements of type a, and with or without kv_sim.
func Model(s Sizes, a string, sim bool) []Instance {
	all := []Instance{HyperOut(s.Streams), Latents(sim), AttendRowsFor(s.Heads, s.HeadDim).Instance(a, s.HeadDim),
		AttendChunks(a, s.HeadDim), AttendCombine(a, s.HeadDim), AttendKeep(a), Store()}
	main, index := NoRounding, NoRounding
	if sim {
		main, index = RoundFP8, RoundFP4
	}
	entries, _ := Pool(a, s.HeadDim, main)
	keys, _ := Pool(a, s.IndexDim, index)
	scores, _ := SelectScores(a, s.IndexHeads, s.IndexDim, sim)
	all = append(all, entries, keys, scores)
	for _, decode := range []bool{false, true} {
		in, _ := HyperIn(s.Streams, decode)
		head, _ := HyperHead(s.Streams, decode)
		top, _ := SelectTop(decode)
		sums := HyperSumsFor(decode)
		all = append(all, sums.Instance((2+s.Streams)*s.Streams), sums.Instance(s.Streams), in, head, top, Route(s.Experts, decode))
	}
	return all
}
