package apple

import (
	"encoding/binary"
	"testing"

	"assay/metal/host"
)

// TestHere runs one kernel on the Mac's own GPU.
func TestHere(t *testing.T) {
	d, err := Open(Options{})
	if err != nil {
		t.Skip(err) // a virtual machine's GPU is of an older family
	}
	const source = `#include <metal_stdlib>
using namespace metal;
kernel void add(device const uint* x [[buffer(0)]], device uint* y [[buffer(1)]], constant uint& n [[buffer(2)]],
    uint3 at [[thread_position_in_grid]]) { y[at.x] += x[at.x] + n; }`
	if err := d.Compile(t.Context(), host.Program{Source: source, Kernels: []string{"add"}}); err != nil {
		t.Fatal(err)
	}
	b := buffers(t, d, 1024, 2)
	if err := b[0].Write(8, []byte{5, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 1, false), adding(b[0], b[1], 10, true)}); err != nil {
		t.Fatal(err)
	}
	if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 100, true)}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if err := b[1].Read(0, got); err != nil {
		t.Fatal(err)
	}
	if x, y := binary.LittleEndian.Uint32(got), binary.LittleEndian.Uint32(got[4:]); x != 111 || y != 126 {
		t.Errorf("elements %d and %d, want 111 and 126", x, y)
	}
	for _, b := range b {
		b.Free()
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
