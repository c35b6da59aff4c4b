package sweep

import "time"

// Rates is how fast a machine does what a plan consists of, and what is known
// of it: measured there, or assumed.
type Rates struct {
	FLOPs    float64 // useful floating-point operations a second, end to end
	Quantize float64 // weights a second
	Read     float64 // bytes of the checkpoint a second
	Write    float64 // bytes of streams a second
}

// Prediction is how long a plan takes, one thing after the other.
type Prediction struct {
	Compute  time.Duration `json:"compute"`
	Quantize time.Duration `json:"quantize"`
	Read     time.Duration `json:"read"`
	Write    time.Duration `json:"write"`
}

// Total returns the sum.
func (p Prediction) Total() time.Duration { return p.Compute + p.Quantize + p.Read + p.Write }

// Predict says how long the plan takes at some rates.
func (p *Plan) Predict(r Rates) Prediction {
	at := func(n int64, rate float64) time.Duration {
		return time.Duration(float64(n) / rate * float64(time.Second))
	}
	return Prediction{Compute: at(p.FLOPs, r.FLOPs), Quantize: at(p.Weights, r.Quantize), Read: at(p.Source, r.Read), Write: at(p.Written, r.Write)}
}
