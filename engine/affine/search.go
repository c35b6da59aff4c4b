package affine

import "math"

// How much Search tries. Twice as much of any one of these lowers the squared
// error by 3 % at most, on Gaussian, FP4 and FP8 weights, and takes up to half as
// long again.
const (
	shrinks  = 6    // places to which each end of the range is moved
	shrinkBy = 0.32 // of the range, at most, at one end
	kept     = 4    // seeds that are followed to the end
	refits   = 8    // of each of these
	rounds   = 4    // in which the neighbours of the best pair are tried
	reach    = 3    // neighbours of its scale on either side
)

// search is quantizeGroup for Search. The weights of x go from lo to hi.
//
// A group on a lattice is exact and done. For the others there are 38 seeds, of
// which the best go on: codes, least squares, codes, and so on, until nothing is
// gained, and then the BF16 values around. At last come those around the best
// pair, for as long as one of them is better, in a few rounds.
func search(codes []uint8, n int32, x []float32, lo, hi float32) (scale, bias float32, ok bool) {
	if scale, bias, ok = lattice(codes, n, x, lo, hi); ok {
		return scale, bias, true
	}
	s := searcher{points: newPoints(make([]point, 0, 128), n, x), err: math.Inf(1)}
	if scale, bias, ok = recodePair(n, lo, hi); ok {
		s.consider(scale, bias)
	}
	if lo < hi {
		list := s.seeds(lo, hi)
		for _, p := range list.pairs[:list.len] {
			p = s.settle(p)
			s.neighbours(p.scale, p.bias, 0, 1)
		}
		for range rounds {
			if !s.neighbours(float64(s.scale), float64(s.bias), -reach, reach) {
				break
			}
		}
	}
	if math.IsInf(s.err, 1) {
		return 0, 0, false
	}
	nearestCodes(codes, n, x, s.scale, s.bias)
	return s.scale, s.bias, true
}

// searcher is a group and the best pair so far.
type searcher struct {
	points
	scale, bias float32 // BF16 values
	err         float64 // their squared error, +Inf before there are any
}

// consider makes a pair of BF16 values the best one if it is.
func (s *searcher) consider(scale, bias float32) (better bool) {
	e := s.squaredError(scale, bias)
	if better = e < s.err; better {
		s.scale, s.bias, s.err = scale, bias, e
	}
	return better
}

// pair is a scale over 0 and a bias before rounding.
type pair struct {
	scale, bias float64
	gain        float64 // by how much it lowers the squared error, times the weights
}

// shortlist holds the pairs with the largest gains, the largest first.
type shortlist struct {
	pairs [kept]pair
	len   int
}

// add takes p if it belongs into the list. Of equal gains, which nearly always
// are equal codes, the first stays.
func (l *shortlist) add(p pair) {
	at := l.len
	for at > 0 && l.pairs[at-1].gain < p.gain {
		at--
	}
	if at == kept || at > 0 && l.pairs[at-1].gain == p.gain {
		return
	}
	l.len = min(l.len+1, kept)
	copy(l.pairs[at+1:], l.pairs[at:])
	l.pairs[at] = p
}

// seeds fits codes to each seed once and returns the best. The seeds are GPU's
// pair; the least power of two that reaches over the group, from its least weight
// up, which is a lattice for nearly all of a group that comes from FP4 or FP8; and
// ranges of which either end is moved in. They lie closer together where they
// clip less, since with more bits there is less to gain by clipping.
func (s *searcher) seeds(lo, hi float32) (list shortlist) {
	try := func(scale, bias float64) {
		if p, ok := s.fit(s.moments(scale, bias)); ok {
			list.add(p)
		}
	}
	scale, bias := scaleAndBias(GPU, float32(s.n), lo, hi)
	try(s.upright(float64(scale), float64(bias)))
	base, span := float64(lo), float64(hi)-float64(lo)
	try(leastStep(int32(s.n), lo, hi), base)
	for i := range shrinks {
		for j := range shrinks {
			low, high := shrink(i), shrink(j)
			try(span*(1-low-high)/s.n, base+float64(low*span))
		}
	}
	return list
}

// shrink returns the parts of the range by which seeds move its ends in.
func shrink(i int) float64 { return shrinkBy * float64(i*i) / ((shrinks - 1) * (shrinks - 1)) }

// upright returns the pair over 0 that reaches the same values as a pair.
func (s *searcher) upright(scale, bias float64) (float64, float64) {
	if scale < 0 {
		return -scale, bias + float64(scale*s.n)
	}
	return scale, bias
}

// settle alternates codes and least squares from p on.
func (s *searcher) settle(p pair) pair {
	for range refits {
		next, ok := s.fit(s.moments(p.scale, p.bias))
		if !ok || next.gain <= p.gain {
			break
		}
		p = next
	}
	return p
}

// neighbours considers the best of the BF16 pairs around a pair. Scales are the
// BF16 value at or under scale, and those from as far from it as from to to. For
// the codes of each, there is one best bias, and it takes the two BF16 values
// around. The same values read from the other end are another bias to round.
func (s *searcher) neighbours(scale, bias float64, from, to int) (better bool) {
	scale, bias = s.upright(scale, bias)
	least := math.Inf(1)
	var bestScale, bestBias float32
	at := int(math.Float32bits(float32(scale)) >> 16)
	for u := max(at+from, 1); u <= at+to; u++ {
		stepped := math.Float32frombits(uint32(u) << 16)
		step := float64(stepped)
		m := s.moments(step, bias)
		exact := (s.x - float64(step*m.q)) / s.count
		length := float64(step * s.n)
		for _, z := range aroundBF16(exact) {
			if e := s.errorOf(m, step, float64(z)); e < least {
				least, bestScale, bestBias = e, stepped, z
			}
		}
		for _, z := range aroundBF16(exact + length) {
			if e := s.errorOf(m, step, float64(z)-length); e < least {
				least, bestScale, bestBias = e, -stepped, z
			}
		}
	}
	bestScale, bestBias, ok := stored(int32(s.n), bestScale, bestBias)
	return ok && s.consider(bestScale, bestBias)
}

// aroundBF16 returns the BF16 values on either side of v, the one nearer to 0 first.
func aroundBF16(v float64) [2]float32 {
	u := math.Float32bits(float32(v)) &^ 0xffff
	return [2]float32{math.Float32frombits(u), math.Float32frombits(u + 1<<16)}
}
