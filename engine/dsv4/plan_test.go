package dsv4_test

import (
	"fmt"
	"math"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/variant"
)

// flashRows are V4-Flash's exact tensor bytes, main and main with MTP, in the
// order of variant.Grid. Source: the specification's table 2.5.
var flashRows = [][2]int64{
	{181521067100, 185739533896}, {146892893276, 150306053704},
	{179714567260, 183891615304}, {145086393436, 148458135112},
	{177908067420, 182043696712}, {143279893596, 146610216520},
	{163755355228, 167560814152}, {129127181404, 132127333960},
	{161948855388, 165712895560}, {127320681564, 130279415368},
	{160142355548, 163864976968}, {125514181724, 128431496776},
	{154872499292, 158471454280}, {120244325468, 123037974088},
	{153065999452, 156623535688}, {118437825628, 121190055496},
	{151259499612, 154775617096}, {116631325788, 119342136904},
}

func totals(t *testing.T, name string) variant.Totals {
	t.Helper()
	c, err := dsv4.ParseConfig(dsv4.FlashConfig())
	if err != nil {
		t.Fatal(err)
	}
	r, err := variant.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := r.Plan(dsv4.Params(c))
	if err != nil {
		t.Fatal(err)
	}
	return variant.Sum(steps)
}

func TestFlashPlan(t *testing.T) {
	for i, name := range variant.Grid() {
		got := totals(t, name)
		if want := flashRows[i]; got.BytesMain != want[0] || got.BytesTotal != want[1] {
			t.Errorf("%s: %d main, %d total, want %d, %d", name, got.BytesMain, got.BytesTotal, want[0], want[1])
		}
	}
	for name, want := range map[string][2]int64{
		"native": {156198382684, 159797337672},
		"bf16":   {568753728604, 581975531080},
	} {
		if got := totals(t, name); got.BytesMain != want[0] || got.BytesTotal != want[1] {
			t.Errorf("%s: %d main, %d total, want %d, %d", name, got.BytesMain, got.BytesTotal, want[0], want[1])
		}
	}
	base := totals(t, "g32-n8-e4")
	if base.BytesPerToken != 11823853292 {
		t.Errorf("g32-n8-e4 reads %d bytes a token, want 11823853292", base.BytesPerToken)
	}
	if got := fmt.Sprintf("%.6f", base.BitsPerWeight()); got != "5.107295" {
		t.Errorf("g32-n8-e4 has %s bits a weight, want 5.107295", got)
	}
	if base.Parameters != 284332240471 || math.IsNaN(base.BitsPerWeight()) {
		t.Errorf("%d parameters, want 284332240471", base.Parameters)
	}
}
