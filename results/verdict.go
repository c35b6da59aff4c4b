package results

import (
	"cmp"
	"fmt"
	"slices"

	"assay/eval"
	"assay/eval/stat"
)

// Verdict is what the table says about which variant to take, as names and
// figures for others to put in words.
type Verdict struct {
	// Front is the Pareto front of bytes_main and mean KL, from the fewest
	// bytes: no other variant has as few bytes and as little KL, and less of one.
	Front []string `json:"front"`
	// Dominated is every other variant of known KL, in table order.
	Dominated []Dominated `json:"dominated"`
	// NotToldApart is the pairs on the front whose difference in KL has an
	// interval that includes 0, or none. No correction is made for the number
	// of pairs that were looked at.
	NotToldApart []Pair `json:"not_told_apart"`
	// ByMemory is a choice for each memory size, as asked.
	ByMemory []Choice `json:"by_memory"`
	// Unknown is the variants whose KL is not known: not finite, or not scored
	// on every window. They are on neither list.
	Unknown []string `json:"unknown"`
}

// Dominated is a variant that another one leaves no reason to take.
type Dominated struct {
	Name string `json:"name"`
	// By is the members of the front that have as few bytes and as little KL,
	// and less of one: one at least, from the fewest bytes.
	By []Dominator `json:"by"`
}

// Dominator is a member of the front as it stands to a variant it dominates.
type Dominator struct {
	Name string `json:"name"`
	// Bytes is how many fewer bytes_main it has; 0 where as many.
	Bytes int64 `json:"bytes"`
	// KL is the dominated variant's mean KL less this one's, in nats, paired by
	// window. Where its interval includes 0 it is the bytes that speak, or
	// nothing where Bytes is 0.
	KL stat.Estimate `json:"kl"`
}

// Pair is two members of the front, Small with the fewer bytes.
type Pair struct {
	Small string `json:"small"`
	Large string `json:"large"`
	// KL is Small's mean KL less Large's, in nats, paired by window.
	KL stat.Estimate `json:"kl"`
}

// Choice is the variant for one size of memory.
type Choice struct {
	MacGB int `json:"mac_gb"` // as sold, such as 128
	// Name is the member of the front of least KL that fits; "" where none does.
	Name string `json:"name"`
}

// Judge returns the verdict on rows, made by Table. For each of macGB, in that
// order, it asks fits whether a variant of so many bytes runs on a machine sold
// with so much memory: the rule is the caller's.
func Judge(rows []Row, macGB []int, fits func(bytesMain int64, macGB int) bool) (Verdict, error) {
	v := Verdict{Front: []string{}, Dominated: []Dominated{}, ByMemory: []Choice{}, Unknown: []string{}}
	var known, front []Row
	for _, r := range rows {
		if !r.Summary.KL.Known() {
			v.Unknown = append(v.Unknown, r.Variant.Name)
			continue
		}
		known = append(known, r)
	}
	isDominated := func(r Row) bool {
		return slices.ContainsFunc(known, func(o Row) bool { return o.dominates(r) })
	}
	for _, r := range known {
		if !isDominated(r) {
			front = append(front, r)
		}
	}
	slices.SortStableFunc(front, func(a, b Row) int { return cmp.Compare(a.Variant.BytesMain, b.Variant.BytesMain) })
	for _, r := range front {
		v.Front = append(v.Front, r.Variant.Name)
	}
	for _, r := range known {
		if !isDominated(r) {
			continue
		}
		d, err := dominatedBy(r, front)
		if err != nil {
			return Verdict{}, err
		}
		v.Dominated = append(v.Dominated, d)
	}
	var err error
	if v.NotToldApart, err = notToldApart(front); err != nil {
		return Verdict{}, err
	}
	for _, gb := range macGB {
		v.ByMemory = append(v.ByMemory, Choice{MacGB: gb, Name: choose(front, gb, fits)})
	}
	return v, nil
}

// dominates says whether r has as few bytes and as little KL as o, and less of one.
func (r Row) dominates(o Row) bool {
	b, k := cmp.Compare(r.Variant.BytesMain, o.Variant.BytesMain), cmp.Compare(r.Summary.KL.Value, o.Summary.KL.Value)
	return b <= 0 && k <= 0 && b+k < 0
}

// dominatedBy returns which members of the front dominate r.
func dominatedBy(r Row, front []Row) (Dominated, error) {
	d := Dominated{Name: r.Variant.Name}
	for _, f := range front {
		if !f.dominates(r) {
			continue
		}
		kl, err := pairedKL(r, f)
		if err != nil {
			return Dominated{}, err
		}
		d.By = append(d.By, Dominator{Name: f.Variant.Name, Bytes: r.Variant.BytesMain - f.Variant.BytesMain, KL: kl})
	}
	return d, nil
}

// notToldApart returns the pairs of front whose KL is not told apart.
func notToldApart(front []Row) ([]Pair, error) {
	pairs := []Pair{}
	for i, a := range front {
		for _, b := range front[i+1:] {
			kl, err := pairedKL(a, b)
			if err != nil {
				return nil, err
			}
			if !kl.HasInterval() || kl.Includes(0) {
				pairs = append(pairs, Pair{Small: a.Variant.Name, Large: b.Variant.Name, KL: kl})
			}
		}
	}
	return pairs, nil
}

// pairedKL returns a's mean KL less b's.
func pairedKL(a, b Row) (stat.Estimate, error) {
	kl, err := eval.PairedKL(a.Scores, b.Scores)
	if err != nil {
		return stat.Estimate{}, fmt.Errorf("results: %w", err)
	}
	return kl, nil
}

// choose returns the member of front, sorted by bytes, of least KL that fits,
// of equals the smaller; "" where none fits.
func choose(front []Row, gb int, fits func(bytesMain int64, macGB int) bool) string {
	best := -1
	for i, r := range front {
		if fits(r.Variant.BytesMain, gb) && (best < 0 || r.Summary.KL.Value < front[best].Summary.KL.Value) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return front[best].Variant.Name
}
