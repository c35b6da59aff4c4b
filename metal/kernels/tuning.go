package kernels

// Tuning is where products change from one kernel to another, and how much work
// a GPU wants at once. Only speed depends on it, and the last bits of results.
type Tuning struct {
	Few        int // tokens up to which products read weights once for all of them, and experts lie where they are
	Simdgroups int // that keep a GPU busy; where there are fewer, each takes less
	Rows       int // that a simdgroup multiplies at once, and the least that it takes
	Split      int // simdgroups that share rows, at most
	Short      int // tokens an expert, on average, up to which its tiles are 16 high, twice that 32
}

// Tuned is for a GPU of about a hundred cores.
var Tuned = Tuning{Few: 8, Simdgroups: 2048, Rows: 4, Split: 8, Short: 12}

// mostBlock is the most rows of a simdgroup: one for each lane.
const mostBlock = 32

// Cut cuts products of one row with matrices of one format with cols columns and,
// together, rows rows.
func (t Tuning) Cut(f Format, rows, cols int) Cut {
	c := Cut{Vals: f.Lane(cols), Rows: t.Rows}
	c.Split = t.split(c.Vals, cols)
	for c.Vals > 16 && f.fits(c.Vals/2, cols) && c.Split < t.Split && rows*c.Split < t.Rows*t.Simdgroups {
		c.Vals, c.Split = c.Vals/2, 2*c.Split
	}
	c.Block = t.block(rows*c.Split, t.Simdgroups)
	c.Simds = max(c.Split, 4)
	return c
}

// FewCut cuts products of few rows, 2, 4 or 8, with a matrix [rows, cols].
func (t Tuning) FewCut(tokens, rows, cols int) Cut {
	c := Cut{Vals: 16, Rows: t.Rows, Split: min(t.split(16/teams(tokens), cols), 4), Simds: 4}
	if tokens > 2 {
		c.Rows = max(t.Rows/2, 1)
	}
	c.Block = min(t.block(rows*c.Split, t.Simdgroups), 16)
	return c
}

// UpCut cuts the gate and up projections [rows, cols] of some experts, whose rows
// come in pairs.
func (t Tuning) UpCut(f Format, rows, cols, experts int) Cut {
	c := Cut{Rows: max(t.Rows/2, 1), Split: min(t.split(f.Lane(cols), cols), 4), Simds: 4}
	c.Block = t.block(experts*rows*c.Split, t.Simdgroups)
	return c
}

// DownCut cuts the down projections [rows, cols] of some experts.
func (t Tuning) DownCut(f Format, rows, cols, experts int) Cut {
	c := Cut{Rows: t.Rows, Split: min(t.split(f.Lane(cols), cols), 2)}
	c.Block = t.block(experts*rows*c.Split, t.Simdgroups/2)
	c.Simds = min(experts*c.Split, 16)
	return c
}

// split is how many simdgroups share a row of which lanes take lane columns at
// once: enough that each has one piece of it.
func (t Tuning) split(lane, cols int) int {
	n := 1
	for n < t.Split && 32*lane*n < cols {
		n *= 2
	}
	return n
}

// block is how many rows a simdgroup takes where so many rows, or parts of rows,
// are shared out to so many simdgroups.
func (t Tuning) block(parts, simdgroups int) int {
	n := t.Rows
	for n < mostBlock && parts >= 2*n*simdgroups {
		n *= 2
	}
	return n
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
