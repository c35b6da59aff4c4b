package kernels

// ExpertsArgs is the argument struct of experts_up and experts_down.
type ExpertsArgs struct {
	Experts uint32
	Picks   uint32 // of a token
	Cols    uint32 // of W1 and W3 in up, of W2 in down
	Shared  uint32 // the shared expert's rows of W1 and W3 in up, its columns of W2 in down
	Rows    uint32 // of W1 and W3 in up, of W2 in down
	LdA     uint32
	Limit   float32
	Pad     uint32
}

// ExpertsMapArgs is the argument struct of map_count and map_lists.
type ExpertsMapArgs struct {
	Entries uint32
	Experts uint32
}

// ExpertsSumArgs is the argument struct of experts_sum.
type ExpertsSumArgs struct {
	Picks   uint32
	Experts uint32
	Cols    uint32
	Pad     uint32
}

// TilesArgs is the argument struct of tiles_up and tiles_down.
type TilesArgs struct {
	Tokens uint32
	Picks  uint32
	Rows   uint32
	Cols   uint32
	LdA    uint32
	Limit  float32
}

// MaxPicks is the most experts of a token, beside the shared one.
const MaxPicks = 31

// mapSimds is the simdgroups of the threadgroups that sort, and add up.
const mapSimds = 8

// MapThreads is their threads.
const MapThreads = 32 * mapSimds

// Operand is a matrix as one operand of two: its format, what x is rounded to,
// and how many columns a lane takes at once.
type Operand struct {
	Format Format
	Type   string // "float", "half" or "bfloat"
	Lane   int
}

func (o Operand) args() []string { return list(o.Format.Args(), o.Type, o.Lane) }

// ExpertsUp is the gate and up projections of each pick and of the shared expert,
// with SwiGLU; c.Vals is the operands' own.
func ExpertsUp(routed, shared Operand, c Cut) Instance {
	return Instance{"experts_up", list(routed.args(), shared.args(), c.args())}
}

// ExpertsDown is the down projections and their sum; a threadgroup makes c.Block
// rows.
func ExpertsDown(routed, shared Operand, c Cut) Instance {
	return Instance{"experts_down", list(routed.args(), shared.args(), c.args())}
}

// MapCount counts the tokens of each expert, MapLists lists them, and the tiles
// of up to down tokens.
func MapCount() Instance { return Instance{"map_count", list(mapSimds)} }

// MapLists follows MapCount.
func MapLists(down int) Instance { return Instance{"map_lists", list(down, mapSimds)} }

// TilesUp is ExpertsUp over tiles of lists, or, with listed false, over all
// tokens for the shared expert.
func TilesUp(f Format, a string, down int, listed bool) Instance {
	n := 0
	if listed {
		n = 1
	}
	return Instance{"tiles_up", list(f.Args(), a, down, n)}
}

// TilesDown is the down projections over tiles of lists.
func TilesDown(f Format, a string, down int) Instance {
	return Instance{"tiles_down", list(f.Args(), a, down)}
}

// ExpertsSum adds up the experts of each token.
func ExpertsSum() Instance { return Instance{"experts_sum", list(mapSimds)} }
