//go:build !linux && !darwin

package checkpoint

// There is no mapping to advise on.

func wantPages([]byte)         {}
func dropPages([]byte)         {}
func sparsePages([]byte, bool) {}
