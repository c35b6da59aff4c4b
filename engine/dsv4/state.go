package dsv4

// newLayerState makes the state of one layer for sequences of up to tokens.
func newLayerState(mem Memory, c *Config, layer, tokens int) (*LayerState, error) {
	s := &LayerState{}
	var err error
	if s.Window, err = mem.NewArray(c.SlidingWindow * c.HeadDim); err != nil {
		return nil, err
	}
	if c.Ratio(layer) == 0 {
		return s, nil
	}
	if s.Main, err = newPool(mem, c.Ratio(layer), c.HeadDim, tokens); err != nil {
		s.free(mem)
		return nil, err
	}
	if c.Indexed(layer) {
		if s.Index, err = newPool(mem, c.Ratio(layer), c.IndexHeadDim, tokens); err != nil {
			s.free(mem)
			return nil, err
		}
	}
	return s, nil
}

func newPool(mem Memory, ratio, width, tokens int) (*Pool, error) {
	p := &Pool{Slots: poolSlots(ratio)}
	n := p.Slots * compressorWidth(ratio, width)
	var err error
	if p.Values, err = mem.NewArray(n); err != nil {
		return nil, err
	}
	if p.Gates, err = mem.NewArray(n); err != nil {
		return nil, err
	}
	p.Entries, err = mem.NewArray(max(tokens/ratio, 1) * width)
	return p, err
}

func poolSlots(ratio int) int {
	if ratio == OverlapRatio {
		return 2 * ratio
	}
	return ratio
}

func (s *LayerState) free(mem Memory) {
	mem.Free(s.Window)
	for _, p := range []*Pool{s.Main, s.Index} {
		if p != nil {
			mem.Free(p.Values)
			mem.Free(p.Gates)
			mem.Free(p.Entries)
		}
	}
}

// StateBytes returns the bytes of a sequence's state at a length of tokens:
// rings, pending rows and pooled entries of all layers, at size bytes an
// element (4 on the CPU engine, 2 where keys are cached as BF16).
func StateBytes(c *Config, tokens, size int) int64 {
	var n int64
	for i := range c.NumHiddenLayers {
		n += layerElements(c, i, tokens)
	}
	return n * int64(size)
}

// layerElements returns the elements of one layer's state.
func layerElements(c *Config, layer, tokens int) int64 {
	n := int64(c.SlidingWindow * c.HeadDim)
	if r := c.Ratio(layer); r != 0 {
		n += poolElements(r, c.HeadDim, tokens)
		if c.Indexed(layer) {
			n += poolElements(r, c.IndexHeadDim, tokens)
		}
	}
	return n
}

func poolElements(ratio, width, tokens int) int64 {
	return int64(2*poolSlots(ratio)*compressorWidth(ratio, width)) + int64(tokens/ratio)*int64(width)
}

// SessionTokens returns the most tokens that a session of up to tokens tokens
// runs at once, on operations that take most.
func SessionTokens(tokens, most int) int { return min(tokens, most) }

// SessionBytes returns the states and arrays of a session of up to tokens
// tokens, in bytes, without any weight.
func SessionBytes(c *Config, tokens, most int) int64 {
	at := SessionTokens(tokens, most)
	return StateBytes(c, tokens, 4) + WorkspaceBytes(c, at) + int64(at*c.HCMult*c.HiddenSize*4) + ropeBytes(c, tokens)
}

// ropeBytes returns the bytes of both rotary tables.
func ropeBytes(c *Config, tokens int) int64 { return int64(tokens) * int64(c.QKRopeHeadDim) * 8 }
