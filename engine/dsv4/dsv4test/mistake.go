package dsv4test

import (
	"slices"

	"assay/engine/dsv4"
)

// Mistake is an error that a port of the model has made; see the
// specification's sections 5 and 7.1.
type Mistake string

// The mistakes that Naive can make.
const (
	CombNotTransposed  Mistake = "comb not transposed"
	NoInverseRope      Mistake = "no inverse rope on output"
	SharedNotClamped   Mistake = "shared expert not clamped"
	NoClamp            Mistake = "no clamp at all"
	GateClampedTwice   Mistake = "gate clamped on both sides"
	YarnEverywhere     Mistake = "YaRN also on R=0"
	NoYarn             Mistake = "no YaRN anywhere"
	OneTheta           Mistake = "theta 10000 everywhere, no YaRN"
	EntryAtLastToken   Mistake = "entry rope at the block's last token"
	EntryAtIndex       Mistake = "entry rope at the block index"
	BlocksLate         Mistake = "blocks visible one step late"
	AllBlocks          Mistake = "all blocks visible"
	LosesPreviousBlock Mistake = "decode loses the previous block"
	WindowTooWide      Mistake = "window one too wide"
	SinkIgnored        Mistake = "sink ignored"
	BiasLeaks          Mistake = "bias leaks into routing weights"
	Sigmoid            Mistake = "sigmoid instead of sqrtsoftplus"
	NoHCEps            Mistake = "hc_eps missing in pre"
	PostNotDoubled     Mistake = "post without factor 2"
	NoHeadNorm         Mistake = "per-head q norm missing"
	RopeOnFirst        Mistake = "rope on the first channels"
	RopeHalfSplit      Mistake = "rope half-split"
	IndexerSkipped     Mistake = "indexer skipped"
	NoReLU             Mistake = "ReLU missing in the indexer"
)

// frequencies returns what a port that makes m would use for f.
func (m Mistake) frequencies(c *dsv4.Config, f []float32) []float32 {
	plain := slices.Equal(f, c.Frequencies(0))
	other := *c
	switch {
	case m == YarnEverywhere && plain:
		other.CompressRopeTheta = c.RopeTheta
		return other.Frequencies(1)
	case m == NoYarn && !plain:
		other.RopeTheta = c.CompressRopeTheta
		return other.Frequencies(0)
	case m == OneTheta:
		return c.Frequencies(0)
	}
	return f
}

// Fingerprint is what the tiny model gives with a mistake in it.
type Fingerprint struct {
	Mistake Mistake
	NLL     float64    // mean of tokens 1..39
	Last    [2]float64 // logits 0 and 1 at position 39
	Fifth   float64    // logit 0 at position 5
	Singles bool       // the mistake shows in single-token calls
}

// Fingerprints is the specification's table of section 7.1.
var Fingerprints = []Fingerprint{
	{CombNotTransposed, 4.1941016, [2]float64{-1.322549, 2.045589}, -0.761290, false},
	{NoInverseRope, 4.1304902, [2]float64{-0.244014, 0.998760}, -0.611682, false},
	{SharedNotClamped, 4.1095532, [2]float64{-0.814077, 1.473789}, -1.014358, false},
	{NoClamp, 3.9366525, [2]float64{-0.989055, 0.000702}, -0.171591, false},
	{GateClampedTwice, 4.1631284, [2]float64{-1.339381, 2.054815}, -0.847279, false},
	{YarnEverywhere, 4.1784397, [2]float64{-1.087250, 2.035726}, -0.824241, false},
	{NoYarn, 4.2456565, [2]float64{-0.881866, 1.862010}, -0.861787, false},
	{OneTheta, 4.2454717, [2]float64{-1.010839, 1.723906}, -1.003177, false},
	{EntryAtLastToken, 4.1703097, [2]float64{-1.597991, 1.702738}, -0.592885, false},
	{EntryAtIndex, 4.2253914, [2]float64{-1.266721, 1.995861}, -0.767265, false},
	{BlocksLate, 4.1714227, [2]float64{-1.296678, 1.914845}, -0.810356, false},
	{AllBlocks, 4.3007618, [2]float64{-0.906686, 1.474825}, 0.105511, false},
	{LosesPreviousBlock, 4.1667093, [2]float64{-1.175291, 1.536022}, -0.767265, true},
	{WindowTooWide, 4.1639088, [2]float64{-1.528192, 2.139054}, -0.767265, false},
	{SinkIgnored, 4.0932272, [2]float64{-1.320131, 1.535946}, -1.579216, false},
	{BiasLeaks, 4.1904257, [2]float64{-1.338796, 2.041232}, -0.768705, false},
	{Sigmoid, 4.1643113, [2]float64{-1.355719, 2.101834}, -0.778993, false},
	{NoHCEps, 4.1892541, [2]float64{-1.070319, 1.953387}, -0.766630, false},
	{PostNotDoubled, 4.2229001, [2]float64{-1.506624, 1.590837}, -0.283632, false},
	{NoHeadNorm, 4.1959245, [2]float64{-1.376958, 2.160895}, -0.832906, false},
	{RopeOnFirst, 4.0562368, [2]float64{-1.533744, 1.298681}, -1.143534, false},
	{RopeHalfSplit, 4.1691923, [2]float64{-1.460315, 1.245930}, -1.427860, false},
	{IndexerSkipped, 4.2384888, [2]float64{-1.493887, 1.822470}, -0.767265, false},
	{NoReLU, 4.2266160, [2]float64{-1.121009, 2.000000}, -0.767265, false},
}
