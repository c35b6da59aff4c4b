//go:build !linux && !darwin

package shard

import "math"

// freeBytes doesn't know: a full disk shows when it is written to.
func freeBytes(string) (int64, error) { return math.MaxInt64, nil }
