package affine

import (
	"math"
	"slices"
)

// points is what Search knows of a group: its distinct weights, which are few where
// they come from FP4, and its sums. Nothing here depends on the order of the
// weights in the group. Products are rounded before they are added, so that every
// machine finds the same pair.
type points struct {
	list         []point // in ascending order
	n            float64 // the largest code
	count, x, xx float64 // Σ 1, Σ x, Σ x²
}

// point is a weight x that occurs count times.
type point struct{ x, count, sum float64 } // sum = count·x

// newPoints appends the points of x to list.
func newPoints(list []point, n int32, x []float32) points {
	keys := make([]int32, 0, 128)
	for _, v := range x {
		keys = append(keys, orderKey(int32(math.Float32bits(v+0)))) // −0 + 0 is 0
	}
	slices.Sort(keys)
	p := points{n: float64(n), count: float64(len(x))}
	for len(keys) > 0 {
		same := 1
		for same < len(keys) && keys[same] == keys[0] {
			same++
		}
		v, count := float64(math.Float32frombits(uint32(orderKey(keys[0])))), float64(same)
		list = append(list, point{v, count, count * v})
		p.x += float64(count * v)
		p.xx += float64(float64(count*v) * v)
		keys = keys[same:]
	}
	p.list = list
	return p
}

// moments are sums over a group with the codes q of its weights: Σ q, Σ q², Σ q·x.
type moments struct{ q, qq, qx float64 }

// moments returns the sums for the nearest codes of a scale over 0 and a bias. The
// weights at either end, whose codes are 0 and n, are looked for first; the others
// need no clamp. Adding and subtracting 1.5·2^52 rounds to a whole number.
func (p *points) moments(scale, bias float64) moments {
	const magic = 0x1.8p52
	list := p.list
	for bottom := bias + float64(0.5*scale); len(list) > 0 && list[0].x < bottom; {
		list = list[1:]
	}
	count, sum := 0., 0.
	for top := bias + float64((p.n-0.5)*scale); len(list) > 0 && list[len(list)-1].x >= top; {
		count += list[len(list)-1].count
		sum += list[len(list)-1].sum
		list = list[:len(list)-1]
	}
	q, qq, qx := count*p.n, count*p.n*p.n, sum*p.n
	perStep := 1 / scale
	origin := float64(bias * perStep)
	for _, e := range list {
		code := float64(e.x*perStep) - origin + magic - magic
		codes := float64(e.count * code)
		q += codes
		qq += float64(codes * code)
		qx += float64(e.sum * code)
	}
	return moments{q, qq, qx}
}

// fit returns the least squares of x on codes, with N = Σ 1:
//
//	scale = cov/det   cov = N·Σqx − Σq·Σx   det = N·Σq² − (Σq)²
//	bias = (Σx − scale·Σq)/N
//	gain = cov²/det
//
// ok is false where all codes are the same.
func (p *points) fit(m moments) (f pair, ok bool) {
	det := float64(p.count*m.qq) - float64(m.q*m.q)
	cov := float64(p.count*m.qx) - float64(m.q*p.x)
	if !(det > 0 && cov > 0) {
		return pair{}, false
	}
	f.scale = cov / det
	f.bias = (p.x - float64(f.scale*m.q)) / p.count
	f.gain = cov * f.scale
	return f, true
}

// errorOf returns Σ (scale·q + bias − x)² from the sums, up to rounding.
func (p *points) errorOf(m moments, scale, bias float64) float64 {
	byScale := float64(scale*m.qq) + float64(2*(float64(bias*m.q)-m.qx))
	byBias := float64(p.count*bias) - 2*p.x
	return float64(scale*byScale) + float64(bias*byBias) + p.xx
}

// squaredError returns Σ (scale·q + bias − x)² for the codes of nearestCodes.
func (p *points) squaredError(scale, bias float32) (sum float64) {
	s, z := float64(scale), float64(bias)
	for _, e := range p.list {
		d := float64(s*float64(nearest((e.x-z)/s, p.n))) + z - e.x
		sum += float64(e.count * float64(d*d))
	}
	return sum
}
