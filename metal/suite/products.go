package suite

import "slices"

// ProductCases are the operations of matrix products.
func ProductCases() []Case {
	return slices.Concat(linearCases(), embedCases(), expertsCases(), logProbsCases())
}
