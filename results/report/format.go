package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"assay/eval/stat"
	"assay/results"
)

const (
	minus = "−"      // the sign that pages print
	space = "\u00a0" // does not break a line
)

// number returns x with so many digits after the point, or "not finite".
func number(x float64, digits int) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "not finite"
	}
	s := strconv.FormatFloat(x, 'f', digits, 64)
	if strings.Trim(s, "-0.") == "" {
		s = strings.TrimPrefix(s, "-")
	}
	return strings.Replace(s, "-", minus, 1)
}

// digitsOf returns how many digits after the point show x with so many
// significant ones.
func digitsOf(x float64, significant int) int {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return significant
	}
	return min(max(significant-1-int(math.Floor(math.Log10(math.Abs(x)))), 0), 12)
}

// integer returns n with commas between thousands.
func integer[T int | int64 | uint64](n T) string {
	s := fmt.Sprint(n)
	sign := ""
	if s[0] == '-' {
		sign, s = minus, s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// decimal returns bytes in MB or GB, powers of ten.
func decimal(n int64) string {
	switch {
	case n >= 1e9:
		return number(float64(n)/1e9, 2) + space + "GB"
	case n >= 1e6:
		return number(float64(n)/1e6, 2) + space + "MB"
	}
	return integer(n) + space + "B"
}

// binary returns bytes in MiB or GiB, powers of two.
func binary(n int64) string {
	if n >= 1<<30 {
		return number(float64(n)/(1<<30), 2) + space + "GiB"
	}
	return number(float64(n)/(1<<20), 2) + space + "MiB"
}

// interval returns "[lo, hi]", or "" where there is none.
func interval(e stat.Estimate, digits int) string {
	if !e.HasInterval() {
		return ""
	}
	return "[" + number(e.Lo, digits) + ", " + number(e.Hi, digits) + "]"
}

// estimate returns "value [lo, hi]" in words: "exactly 0" of an exact value,
// "0.1 (no interval)" where there is none, "unknown" where there is no value.
func estimate(e stat.Estimate, digits int) string {
	switch {
	case !e.Known():
		return "unknown"
	case exact(e):
		return "exactly" + space + number(e.Value, 0)
	case !e.HasInterval():
		return number(e.Value, digits) + " (no interval)"
	}
	return number(e.Value, digits) + " " + interval(e, digits)
}

// exact says whether e is 0 or 1 without any spread: by construction, as of the
// reference, or since every window gave just that.
func exact(e stat.Estimate) bool {
	return (e.Value == 0 || e.Value == 1) && e.Lo == e.Value && e.Hi == e.Value
}

// zeroKL says whether every scored token of r has a KL of exactly 0, whatever
// the number of windows. A mean of 0 alone would not say so.
func zeroKL(r results.Row) bool {
	if !r.Summary.KL.Known() || r.Summary.KL.Value != 0 {
		return false
	}
	for _, w := range r.Scores {
		for _, k := range w.KL {
			if k != 0 {
				return false
			}
		}
	}
	return true
}

// klDigits is how many digits KL figures of rows are given with: three
// significant ones for the least that is above 0.
func klDigits(rows []results.Row) int {
	digits := 4
	for _, r := range rows {
		if kl := r.Summary.KL; kl.Known() && kl.Value != 0 {
			digits = max(digits, digitsOf(kl.Value, 3))
		}
	}
	return min(digits, 9)
}

// klOf returns a row's KL in words.
func klOf(r results.Row, digits int) string {
	if zeroKL(r) {
		return "exactly" + space + "0"
	}
	return estimate(r.Summary.KL, digits)
}

// plural returns "1 token", "2 tokens".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return integer(n) + " " + word + "s"
}

// verb returns " is" or " are".
func verb(n int) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

// short returns the head of a digest, enough to tell two apart.
func short(digest string) string {
	if len(digest) > 12 {
		return digest[:12]
	}
	return digest
}
