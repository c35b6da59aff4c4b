package emu

import (
	"os/exec"
	"regexp"
	"strings"
)

// rePlace is how the runtime writes a place: an address in a library.
var rePlace = regexp.MustCompile("\x02([0-9a-f]+) ([^\x03]*)\x03")

// withLines turns the places of a message into lines of the kernels' source, as
// addr2line knows them.
func withLines(text string) string {
	return rePlace.ReplaceAllStringFunc(text, func(s string) string {
		m := rePlace.FindStringSubmatch(s)
		return sourceLine(m[2], "0x"+m[1])
	})
}

// sourceLine is the innermost line at an address that is a kernel's and not the
// shim's own: what is inlined lists the lines that called it.
func sourceLine(library, address string) string {
	out, err := exec.Command("addr2line", "-s", "-i", "-e", library, address).Output()
	if err != nil {
		return "address " + address + " (addr2line, of binutils, would know the line)"
	}
	first := ""
	for line := range strings.Lines(string(out)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " (disc")
		if first == "" {
			first = line
		}
		if !ownFile(line) {
			return line
		}
	}
	return first
}

// ownFile says whether a line is of the shim.
func ownFile(line string) bool {
	file, _, _ := strings.Cut(line, ":")
	return strings.HasSuffix(file, ".h") || strings.HasSuffix(file, ".cpp") || file == "??" || file == "wrappers" || file == "instances"
}
