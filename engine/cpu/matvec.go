package cpu

import "assay/engine/cpu/kernel"

// matvecs is matrix-vector products that run together: one loop on all threads
// costs less than one for each.
type matvecs struct {
	pieces   []piece
	prepared []activations
	room     []float32 // of prepared activations
	used     int
}

// activations is x as matrices of one format read it.
type activations struct {
	kind              kernel.Kind
	bits, group, cols int
	x                 *float32
	out               []float32
}

// piece is rows from..to-1 of w·x, x prepared, for one thread.
type piece struct {
	w        *kernel.Matrix
	from, to int
	x, y     []float32
}

// A piece has at least so many weights, which take about as long as a thread
// needs to notice it ten times over, and as many rows as kernels add up at once.
const (
	pieceWeights = 1 << 14
	pieceRows    = 16
)

// begin starts a set of products; what the last one prepared is of no more use.
func (o *ops) begin() {
	m := &o.products
	m.pieces, m.prepared, m.used = m.pieces[:0], m.prepared[:0], 0
}

// prepare returns x as products with matrices of w's format and columns read it,
// once for all of them; it is good until the next begin, and so must x be.
func (o *ops) prepare(w *kernel.Matrix, x []float32) []float32 {
	m, n := &o.products, kernel.Prepared(w.Cols)
	a := activations{w.Kind, w.Bits, w.Group, w.Cols, &x[0], nil}
	for i := range m.prepared {
		p := &m.prepared[i]
		if a.x == p.x && a.kind == p.kind && a.bits == p.bits && a.group == p.group && a.cols == p.cols {
			return p.out
		}
	}
	if m.used+n > len(m.room) {
		m.room, m.used = make([]float32, max(2*len(m.room), n)), 0 // what is prepared keeps the old one
	}
	m.used += n
	a.out = o.k.Prepare(w, x, m.room[m.used-n:m.used])
	m.prepared = append(m.prepared, a)
	return a.out
}

// add adds rows from..to-1 of w·x, x prepared, into those of y.
func (o *ops) add(w *kernel.Matrix, from, to int, x, y []float32) {
	rows := to - from
	pieces := 1
	if o.pool.n > 1 {
		pieces = min(max(rows*w.Cols/pieceWeights, 1), 4*o.pool.n)
	}
	each := max((rows/pieces+pieceRows-1)/pieceRows, 1) * pieceRows
	for ; from < to; from += each {
		o.products.pieces = append(o.products.pieces, piece{w, from, min(from+each, to), x, y})
	}
}

// matvec is y = w·x for one x, by itself.
func (o *ops) matvec(w *kernel.Matrix, x, y []float32) {
	o.begin()
	o.add(w, 0, w.Rows, o.prepare(w, x), y)
	o.run()
}

// run runs the products that were added.
func (o *ops) run() {
	o.pool.each(len(o.products.pieces), func(_, i int) {
		p := &o.products.pieces[i]
		o.k.MatVec(p.w, p.from, p.to, p.x, p.y)
	})
}
