package msl

import (
	"fmt"
	"strings"
	"testing"
)

const mutable = `
MSL_FN uint inner(uint i, uint n) { return min(i, n - 1u); }
kernel void first(device float* y [[buffer(0)]], uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 32);
  if (tid >= 32u) return;
  t[tid] = tid < 31u && tid > 2u ? y[inner(tid, 7u)] : 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (tid < 8u || tid == 9u) {
    y[tid] = max(0.0f, t[tid]);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = 0; i < 4u; i++) {
    if (tid + i < 4u && (i == 1u || y[tid] > 1.0f)) y[tid] = t[i];
  }
  if (tid == 0u) y[0] = 1.0f;
}
kernel void second(device float* y [[buffer(0)]], uint tid [[thread_index_in_threadgroup]]) {
  y[tid] = 0.0f;
}
`

// TestMutants lists by hand what can be taken out, and what then stands there.
func TestMutants(t *testing.T) {
	s, err := Parse(program(mutable))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`clamp test.metal inner#1: min(i, n - 1u) -> (i)`,
		`barrier test.metal first#1: threadgroup_barrier(mem_flags::mem_threadgroup) -> `,
		`barrier test.metal first#2: threadgroup_barrier(mem_flags::mem_threadgroup) -> `,
		`bound test.metal first#1: tid >= 32u -> false`,
		`bound test.metal first#1: tid < 8u -> false`,
		`bound test.metal first#1: tid + i < 4u -> true`,
		`bound test.metal first#1: (i == 1u || y[tid] > 1.0f) -> true`,
		`bound test.metal first#1: tid < 31u -> true`,
		`bound test.metal first#1: tid > 2u -> true`,
		`clamp test.metal first#1: max(0.0f, t[tid]) -> (t[tid])`,
	}
	ms := s.Mutants()
	for i, m := range ms {
		got := fmt.Sprintf("%s -> %s", m.Key(), m.To)
		if i >= len(want) || got != want[i] {
			t.Errorf("mutant %d is %q", i, got)
		}
		text := m.Apply(s.raw)
		if text == s.raw || strings.Count(text, "\n") != strings.Count(s.raw, "\n") {
			t.Errorf("%s does not stand in the program, or moves lines", m.Key())
		}
		if _, err := Parse(text); err != nil {
			t.Errorf("%s: %v", m.Key(), err)
		}
		if k := s.Affected(m); len(k) != 1 || k[0] != "first" {
			t.Errorf("%s changes %v, want first", m.Key(), k)
		}
	}
	if len(ms) != len(want) {
		t.Errorf("%d mutants, want %d", len(ms), len(want))
	}
	if len(ms) > 2 && ms[1].Line == ms[2].Line {
		t.Error("two barriers on one line")
	}
}
