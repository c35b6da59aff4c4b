package kernels

// Tuning is where products change from one kernel to another, and how much work
// a GPU wants at once. Only speed depends on it, and the last bits of results.
type Tuning struct {
	Few        int // tokens up to which products read weights once for all of them, and experts lie where they are
	Simdgroups int // that keep a GPU busy; a matrix-vector product with fewer takes fewer rows each
	MaxRows    int // of a simdgroup
	MaxSplit   int // simdgroups that share rows
	IdleRows   int // of a simdgroup, at least, where a row does not occupy its lanes
	Short      int // tokens an expert, on average, up to which its tiles are 16 high, twice that 32
}

// Tuned is for a GPU of about a hundred cores.
var Tuned = Tuning{Few: 8, Simdgroups: 2048, MaxRows: 8, MaxSplit: 8, IdleRows: 4, Short: 12}

// Cut cuts products of matrices of one format with cols columns and, together,
// rows rows.
func (t Tuning) Cut(f Format, rows, cols int) Cut {
	c := Cut{Vals: f.Lane(cols), Rows: 1, Split: 1}
	for c.Split < t.MaxSplit && 32*c.Vals*c.Split < cols {
		c.Split *= 2
	}
	if 32*c.Vals > cols { // lanes are idle: what counts is how many simdgroups there are
		c.Rows = t.IdleRows
	}
	for c.Rows < t.MaxRows && rows*c.Split >= 2*c.Rows*t.Simdgroups {
		c.Rows *= 2
	}
	c.Simds = max(c.Split, 4)
	return c
}

// Down is how many of n tokens a threadgroup of matmul takes.
func (t Tuning) Down(n int) int {
	switch {
	case n <= 16:
		return 16
	case n <= 32:
		return 32
	}
	return 64
}

// ListDown is how many entries a tile of experts' lists has, of so many entries
// of tokens tokens. Where all tokens fit a tile, every weight is read once.
func (t Tuning) ListDown(tokens, entries, experts int) int {
	switch {
	case tokens <= 32:
		return t.Down(tokens)
	case entries <= t.Short*experts:
		return 16
	case entries <= 2*t.Short*experts:
		return 32
	}
	return 64
}
