//go:build !darwin

package cpu

// Elsewhere the files under /proc say both.

func systemProcessor() string { return "" }

func systemMemory() int64 { return 0 }
