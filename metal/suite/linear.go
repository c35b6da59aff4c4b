package suite

import (
	"fmt"

	"assay/engine/affine"
	"assay/engine/dsv4"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/metal/kernels"
)

// productConfig is a model of which products ask for little.
func productConfig() *dsv4.Config {
	return &dsv4.Config{
		VocabSize: 1000, HiddenSize: 384, HCMult: 2, HeadDim: 128, IndexHeadDim: 128,
		NRoutedExperts: 5, NumExpertsPerTok: 3, NSharedExperts: 1, MoEIntermediateSize: 128, SwigluLimit: 0.5,
	}
}

// exact is a bound for results that must be the twin's.
func exact(int) float64 { return 0x1p-149 }

func within(bounds []float64) func(int) float64 { return func(i int) float64 { return bounds[i] } }

// batch makes a batch of sequences of the given lengths.
func batch(lengths ...int) *dsv4.Batch {
	b := &dsv4.Batch{}
	for _, n := range lengths {
		b.Spans = append(b.Spans, dsv4.Span{From: len(b.Tokens), Len: n})
		b.Tokens = append(b.Tokens, make([]token.ID, n)...)
	}
	return b
}

// decode makes a batch of one decoded token.
func decode() *dsv4.Batch {
	b := batch(1)
	b.Decode = true
	return b
}

// numbers puts n whole numbers from −4 to 4 on both sides, or, where whole is
// false, normal ones, and returns them.
func (b *Bench) numbers(n int, whole bool) (Pair, []float32, error) {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(b.Rand.NormFloat64())
		if whole {
			v[i] = float32(b.Rand.IntN(9) - 4)
		}
	}
	p, err := b.Floats(v)
	return p, v, err
}

// linearCases are products of every format, decoded; and of some formats of few
// tokens and of many, ragged in every direction.
func linearCases() []Case {
	var all []Case
	add := func(f tensor.Format, name string, run func(*Bench) error) {
		all = append(all, Case{Name: fmt.Sprintf("linear/%v/%s", f, name), Config: productConfig(), Run: run})
	}
	decoded := func(b *Bench, f tensor.Format, shapes ...[2]int) error {
		for _, s := range shapes {
			if err := b.linear(decode(), f, s[0], s[1]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range formats() {
		add(f, "decode", func(b *Bench) error { return decoded(b, f, [2]int{1, group(f)}, [2]int{67, 1024}) })
	}
	for _, f := range someFormats() {
		g := group(f)
		add(f, "shapes", func(b *Bench) error {
			return decoded(b, f, [2]int{5, 3 * g}, [2]int{33, 128}, [2]int{130, 640}, [2]int{7, 2176})
		})
		add(f, "blocks", func(b *Bench) error {
			defer busy()()
			return decoded(b, f, [2]int{1, g}, [2]int{75, 3 * g}, [2]int{300, 640})
		})
		add(f, "few", func(b *Bench) error {
			return b.tokens(f, [][]int{{2}, {3}, {8}, {3, 1, 7}}, [][2]int{{1, g}, {67, 3 * g}, {130, 256}})
		})
		add(f, "many", func(b *Bench) error {
			return b.tokens(f, [][]int{{9}, {33}, {70}, {20, 3, 1, 30, 12}}, [][2]int{{1, g}, {67, 3 * g}, {130, 256}})
		})
		add(f, "together", func(b *Bench) error { return b.together(f) })
		add(f, "groups", func(b *Bench) error {
			for _, x := range []*dsv4.Batch{decode(), batch(3), batch(41)} {
				for _, rows := range []int{1, 67} {
					if err := b.grouped(x, f, 3, rows, 2*g); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	f := tensor.Format(tensor.PlainFormat(tensor.BF16))
	add(f, "fewBlocks", func(b *Bench) error {
		defer busy()()
		return b.tokens(f, [][]int{{2}, {5}}, [][2]int{{75, 48}, {130, 1040}})
	})
	return all
}

// busy makes operations believe that a few simdgroups keep the GPU busy, so that
// each takes as many rows as it can. What it returns ends that.
func busy() (done func()) {
	before := kernels.Tuned
	kernels.Tuned.Simdgroups = 1
	return func() { kernels.Tuned = before }
}

// tokens compares products of batches of sequences with matrices [rows, cols].
func (b *Bench) tokens(f tensor.Format, batches [][]int, shapes [][2]int) error {
	for _, lengths := range batches {
		for _, s := range shapes {
			if err := b.linear(batch(lengths...), f, s[0], s[1]); err != nil {
				return fmt.Errorf("tokens %v: %w", lengths, err)
			}
		}
	}
	return nil
}

// linear compares one product, once with whole numbers, which must be equal, and
// once with real ones.
func (b *Bench) linear(t *dsv4.Batch, f tensor.Format, rows, cols int) error {
	for _, whole := range []bool{true, false} {
		m := b.Real(f, rows, cols)
		if whole {
			m = b.Whole(f, rows, cols)
		}
		if err := b.product(t, m, 1, whole); err != nil {
			return fmt.Errorf("[%d, %d], whole numbers %v: %w", rows, cols, whole, err)
		}
	}
	return nil
}

// grouped is linear of a matrix of groups with so many rows each.
func (b *Bench) grouped(t *dsv4.Batch, f tensor.Format, groups, rows, cols int) error {
	for _, whole := range []bool{true, false} {
		m := b.Real(f, groups*rows, cols)
		if whole {
			m = b.Whole(f, groups*rows, cols)
		}
		if err := b.product(t, m, groups, whole); err != nil {
			return fmt.Errorf("%d groups of [%d, %d], whole numbers %v: %w", groups, rows, cols, whole, err)
		}
	}
	return nil
}

func (b *Bench) product(t *dsv4.Batch, m *tensor.Matrix, groups int, whole bool) error {
	n := len(t.Tokens)
	x, xs, err := b.numbers(n*groups*m.Cols, whole)
	if err != nil {
		return err
	}
	defer b.free(x)
	y, err := b.Poison(n * m.Rows)
	if err != nil {
		return err
	}
	defer b.free(y)
	w, err := b.Load(m)
	if err != nil {
		return err
	}
	defer b.unload(w)
	if groups > 1 {
		b.Metal.GroupLinear(t, w.Metal, groups, x.Metal, y.Metal)
		b.CPU.GroupLinear(t, w.CPU, groups, x.CPU, y.CPU)
	} else {
		b.Metal.Linear(t, x.Metal, dsv4.Product{W: w.Metal, Y: y.Metal})
		b.CPU.Linear(t, x.CPU, dsv4.Product{W: w.CPU, Y: y.CPU})
	}
	if whole {
		return b.Same("y", y, exact)
	}
	return b.Same("y", y, within(b.productBounds(m, xs, n, groups)))
}

// together compares nine products of one x, one of them of another format: eight
// of a format are more than one dispatch takes.
func (b *Bench) together(f tensor.Format) error {
	cols := 2 * group(f)
	x, _, err := b.numbers(cols, true)
	if err != nil {
		return err
	}
	defer b.free(x)
	var metal, cpu []dsv4.Product
	var ys []Pair
	for i, rows := range []int{3, 64, 1, 33, 8, 130, 17, 5, 40} {
		m := b.Whole(f, rows, cols)
		if i == 4 {
			m = b.Whole(tensor.PlainFormat(tensor.F32), rows, cols)
		}
		w, err := b.Load(m)
		if err != nil {
			return err
		}
		defer b.unload(w)
		y, err := b.Poison(rows)
		if err != nil {
			return err
		}
		defer b.free(y)
		metal, cpu = append(metal, dsv4.Product{W: w.Metal, Y: y.Metal}), append(cpu, dsv4.Product{W: w.CPU, Y: y.CPU})
		ys = append(ys, y)
	}
	b.Metal.Linear(decode(), x.Metal, metal...)
	b.CPU.Linear(decode(), x.CPU, cpu...)
	for i, y := range ys {
		if err := b.Same(fmt.Sprintf("product %d", i), y, exact); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bench) free(p Pair) {
	b.Metal.Free(p.Metal)
	b.CPU.Free(p.CPU)
}

func (b *Bench) unload(w Weights) {
	b.Metal.Unload(w.Metal)
	b.CPU.Unload(w.CPU)
}

// embedCases decode rows by token: exactly as the twin does, but for affine
// weights, where the twin rounds s·q before it adds b.
func embedCases() []Case {
	var all []Case
	for _, f := range formats() {
		all = append(all, Case{Name: fmt.Sprintf("embed/%v", f), Config: productConfig(), Run: func(b *Bench) error {
			for _, tokens := range []int{1, 7} {
				if err := b.embed(f, tokens); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return all
}

func (b *Bench) embed(f tensor.Format, tokens int) error {
	const rows = 50
	d, n := b.Config.HiddenSize, b.Config.HCMult
	m := b.Real(f, rows, d)
	t := batch(tokens)
	for i := range t.Tokens {
		t.Tokens[i] = token.ID(b.Rand.IntN(rows))
	}
	t.Tokens[tokens-1] = rows - 1
	x, err := b.Poison(tokens * n * d)
	if err != nil {
		return err
	}
	defer b.free(x)
	w, err := b.Load(m)
	if err != nil {
		return err
	}
	defer b.unload(w)
	b.Metal.Embed(t, w.Metal, x.Metal)
	b.CPU.Embed(t, w.CPU, x.CPU)
	if _, ok := f.(affine.Format); !ok {
		return b.Same("x", x, exact)
	}
	parts := magnitudes(m)
	return b.Same("x", x, func(i int) float64 {
		return 2 * 0x1p-24 * float64(parts[int(t.Tokens[i/(n*d)])*d+i%d]) // two roundings there, one here
	})
}
