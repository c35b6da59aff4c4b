//go:build !darwin

package cpu

func systemProcessor() string { return "" }
