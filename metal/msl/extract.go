package msl

import (
	"fmt"
	"slices"
	"strings"
)

// Extract returns a program that has the named instances and, of the rest, what
// they need: so what is compiled for a kernel changes only with what it uses.
// Preprocessor lines all stay. Its text is that of the source.
func (s *Source) Extract(names ...string) (string, error) {
	var instances []Instance
	need := map[string]bool{}
	for _, n := range names {
		in, ok := s.Instance(n)
		if !ok {
			return "", fmt.Errorf("msl: no kernel is instantiated as %q", n)
		}
		instances = append(instances, in)
		need[in.Kernel] = true
		for _, a := range in.Args {
			for _, w := range reWord.FindAllString(a, -1) {
				need[w] = true
			}
		}
	}
	keep := s.closure(need)
	var b strings.Builder
	last := -1
	for i, c := range s.chunks {
		if !keep[i] {
			continue
		}
		if strings.TrimSpace(s.raw[max(last, 0):c.from]) != "" || last < 0 || strings.Count(s.raw[last:c.from], "\n") > 8 {
			file, line := s.position(c.from)
			fmt.Fprintf(&b, "\n#line %d %q\n", line, file)
		} else {
			b.WriteString(s.raw[last:c.from])
		}
		b.WriteString(s.raw[c.from:c.to])
		last = c.to
	}
	b.WriteString("\n" + InstancesLine)
	for _, in := range instances {
		if len(in.Args) > 0 {
			fmt.Fprintf(&b, "INSTANTIATE_KERNEL(%q, %s, %s)\n", in.Name, in.Kernel, strings.Join(in.Args, ", "))
		}
	}
	return b.String(), nil
}

// closure says which chunks declare a needed name, or a name that such a chunk
// mentions, and so on.
func (s *Source) closure(need map[string]bool) []bool {
	keep := make([]bool, len(s.chunks))
	for more := true; more; {
		more = false
		for i, c := range s.chunks {
			if keep[i] || c.kind == instance || !c.wanted(need) {
				continue
			}
			keep[i], more = true, true
			for _, w := range s.mentions(i) {
				need[w] = true
			}
		}
	}
	for i, c := range s.chunks { // the source's own marks are written anew
		if c.kind == directive && reLine.MatchString(s.raw[c.from:c.to]) {
			keep[i] = false
		}
	}
	return keep
}

// mentions returns the words of a declaration, or of what a macro stands for.
// Devices extract from one source on several goroutines.
func (s *Source) mentions(i int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.chunks[i]
	if c.words == nil {
		text := s.text[c.from:c.to]
		if m := reDefine.FindStringSubmatch(s.raw[c.from:c.to]); m != nil && !macros[m[1]] {
			text = m[3]
		}
		c.words = append([]string{}, reWord.FindAllString(text, -1)...)
		slices.Sort(c.words)
		c.words = slices.Compact(c.words)
	}
	return c.words
}

func (c chunk) wanted(need map[string]bool) bool {
	if len(c.names) == 0 {
		return true
	}
	for _, n := range c.names {
		if need[n] {
			return true
		}
	}
	return false
}
