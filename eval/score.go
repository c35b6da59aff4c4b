// Package eval compares a variant's next-token distributions with the
// reference's: what is kept of every scored token, and the figures that follow
// from it. It leaves the running of models to engine and the order of the work
// to eval/sweep.
package eval

// WindowScore is what is kept, for good, of one variant on one window: one
// entry a scored token, in order.
type WindowScore struct {
	Variant string
	Text    string // which text of the corpus, such as "prose"
	Window  int    // index of the window in its text
	// NLL is −ln p(target) in nats.
	NLL []float32
	// KL is D(reference ‖ variant) over the full vocabulary, in nats; exactly
	// zero for the reference itself.
	KL []float32
	// Top1 says whether variant and reference rank the same token first.
	Top1 []bool
}
