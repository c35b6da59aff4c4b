package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-echarts/go-echarts/v2/opts"

	"assay/results"
)

// Swatch is how a variant is drawn everywhere: the colour of its expert bits
// and the symbol of its group size.
type Swatch struct {
	Color  string // "#rrggbb", "" where only the symbol counts
	Symbol string // echarts' name, "" where only the colour counts
}

// Colours of expert bits, after M. Okabe and K. Ito's palette, which people with
// any of the common colour blindnesses tell apart; each at least 3:1 on the
// page's light and dark grounds.
var bitColors = map[int]string{
	2: "#b5599a", 3: "#d4691e", 4: "#2f7fc1", 5: "#1f9672", 6: "#a8820f", 8: "#6f6bd0",
}

// plainColor is that of what is not affine: the reference and native.
const plainColor = "#7d848c"

// groupSymbols are by group size.
var groupSymbols = map[int]string{32: "circle", 64: "rect", 128: "triangle"}

// swatchOf returns how v is drawn. Encoders other than MLX's GPU rule have the
// same symbol, hollow.
func swatchOf(v results.Variant) Swatch {
	if v.GroupSize == 0 {
		if v.Name == "bf16" {
			return Swatch{plainColor, "emptyDiamond"}
		}
		return Swatch{plainColor, "diamond"}
	}
	s := Swatch{bitColors[v.ExpertBits], groupSymbols[v.GroupSize]}
	if s.Color == "" {
		s.Color = plainColor
	}
	if s.Symbol == "" {
		s.Symbol = "pin"
	}
	if v.Encoder != "mlx-gpu" && v.Encoder != "" {
		s.Symbol = "empty" + strings.ToUpper(s.Symbol[:1]) + s.Symbol[1:]
	}
	return s
}

// hollow says whether only the symbol's outline is drawn.
func (s Swatch) hollow() bool { return strings.HasPrefix(s.Symbol, "empty") }

// shape returns the symbol's outline, as echarts calls it.
func (s Swatch) shape() string {
	return strings.ToLower(strings.TrimPrefix(s.Symbol, "empty"))
}

// style returns how echarts fills and strokes the symbol.
func (s Swatch) style(opacity float32) opts.ItemStyle {
	style := opts.ItemStyle{Color: s.Color, Opacity: opts.Float(opacity)}
	if s.hollow() {
		style.Color, style.BorderColor, style.BorderWidth = "--card", s.Color, 2
	}
	return style
}

// legendEntry explains a colour or a symbol.
type legendEntry struct {
	Swatch
	Text string
}

// legend returns the colours and the symbols that rows use, in order.
func legend(rows []results.Row) []legendEntry {
	var out []legendEntry
	seen := map[string]bool{}
	add := func(s Swatch, text string) {
		if !seen[text] {
			seen[text] = true
			out = append(out, legendEntry{s, text})
		}
	}
	for bits := 16; bits > 0; bits-- {
		for _, r := range rows {
			if v := r.Variant; v.GroupSize > 0 && v.ExpertBits == bits {
				add(Swatch{swatchOf(v).Color, ""}, strconv.Itoa(bits)+"-bit experts")
			}
		}
	}
	for _, r := range rows {
		v := r.Variant
		switch s := swatchOf(v); {
		case v.GroupSize == 0:
			add(s, v.Name)
		case s.hollow():
			add(Swatch{"", s.Symbol}, fmt.Sprintf("group %d, encoder %s", v.GroupSize, v.Encoder))
		default:
			add(Swatch{"", s.Symbol}, fmt.Sprintf("group %d", v.GroupSize))
		}
	}
	return out
}

// sortKey returns x as the page's script reads it.
func sortKey(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
